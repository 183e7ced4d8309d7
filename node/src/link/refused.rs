//! Tells a refused connection from every other failure.

use std::{error::Error, io};

/// Whether a connection was refused by the peer's host: nobody listens at the address. Looks through the whole
/// chain of causes, since the transport wraps the operating system's answer several times.
pub fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::ConnectionRefused {
                return true;
            }
            if let Some(inner) = io.get_ref()
                && is_refused(inner)
            {
                return true;
            }
        }
        next = error.source();
    }
    false
}
