//! Finds free ports in a row: node I of a `dev` cluster listens at P + 10 x I.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Below the ports that Linux gives to outgoing connections (32,768 and up), so that none of those takes one
/// between the look and the start.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;
/// Doors of a node.
const DOORS: u16 = 5;

/// A base whose ports for `nodes` nodes are all free now.
///
/// # Panics
/// If there is none.
pub fn free_base(nodes: u16) -> u16 {
    let width = 10 * nodes.max(1);
    let places = (LAST - FIRST) / width;
    // Test binaries that run beside each other begin at different places.
    let begin = std::process::id() as u16 % places;
    static USED: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let step = USED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    (0..places)
        .map(|n| FIRST + (begin + step + n) % places * width)
        .find(|base| (0..nodes).all(|node| (0..DOORS).all(|door| is_free(base + 10 * node + door))))
        .expect("some ports are free")
}

fn is_free(port: u16) -> bool {
    let bind = |address: SocketAddr| TcpListener::bind(address).map(drop);
    if bind((Ipv4Addr::LOCALHOST, port).into()).is_err() {
        return false;
    }
    // A machine without IPv6 refuses any port there, 0 too.
    bind((Ipv6Addr::LOCALHOST, port).into()).is_ok()
        || bind((Ipv6Addr::LOCALHOST, 0).into()).is_err()
}
