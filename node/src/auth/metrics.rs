//! The metrics of authentication.

use metrics::{Unit, counter, describe_counter};

use super::Denied;

const AUTHENTICATIONS: &str = "mainstay_authentications_total";
const METHOD: &str = "password";

/// Names, units and zeros.
pub fn describe() {
    describe_counter!(
        AUTHENTICATIONS,
        Unit::Count,
        "checks of credentials, by method and result"
    );
    for result in ["ok", "denied", "error"] {
        counter!(AUTHENTICATIONS, "method" => METHOD, "result" => result).absolute(0);
    }
}

pub(super) fn checked(denied: Option<Denied>) {
    let result = match denied {
        None => "ok",
        Some(Denied::BadCredentials) => "denied",
        Some(Denied::Busy) => "error",
    };
    counter!(AUTHENTICATIONS, "method" => METHOD, "result" => result).increment(1);
}
