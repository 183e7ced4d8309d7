//! Which process has a TCP socket, by the system's tables: the proxy must know which node is calling.

use std::net::{Ipv4Addr, SocketAddr};

/// Whether a process has the socket whose own end is `address` (IPv4; nodes dial 127.0.0.1).
pub(super) fn owns(pid: u32, address: SocketAddr) -> bool {
    let SocketAddr::V4(address) = address else {
        return false;
    };
    let Some(inode) = inode_of(*address.ip(), address.port()) else {
        return false;
    };
    let wanted = format!("socket:[{inode}]");
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files.flatten().any(|file| {
        std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
    })
}

fn inode_of(address: Ipv4Addr, port: u16) -> Option<u64> {
    // The kernel prints the address as a number of the machine's own byte order.
    let wanted = format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets()));
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        (columns.nth(1) == Some(wanted.as_str()))
            .then(|| columns.nth(7)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_is_found_with_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mine = stream.local_addr().unwrap();
        assert!(owns(std::process::id(), mine));
        assert!(!owns(1, mine));
    }
}
