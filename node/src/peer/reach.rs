//! Whether a peer's process is gone: its own listener refuses connections.
//!
//! A refusal says this only if nothing stands before the listener: the address is loopback, or the operator has
//! said so. A proxy that refuses would else end a healthy node early.

use std::{io, time::Duration};

use tokio::net::{TcpStream, lookup_host};

/// A host within reach answers or refuses in milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether a new connection to host:port is refused, and that can be believed.
pub(super) async fn is_gone(address: &str, trust_refused: bool) -> bool {
    let look = async {
        let Ok(found) = lookup_host(address).await else {
            return false;
        };
        let mut any = false;
        for address in found {
            let believed = trust_refused || address.ip().is_loopback();
            let refused = matches!(
                TcpStream::connect(address).await,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused
            );
            if !believed || !refused {
                return false;
            }
            any = true;
        }
        any
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_closed_port_of_this_host_is_gone_and_an_open_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(!is_gone(&address, false).await);
        drop(listener);
        assert!(is_gone(&address, false).await);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_says_nothing() {
        assert!(!is_gone("nobody.invalid:1", true).await);
    }
}
