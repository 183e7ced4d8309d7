//! The operating system's randomness: the one source of it in the program.

use std::io;

use mainstay_core::ids::ResourceId;
use ring::rand::{SecureRandom, SystemRandom};

/// Fills the bytes.
///
/// # Errors
/// If the system has none to give.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| io::Error::other("the system has no randomness"))
}

/// A random number.
///
/// # Errors
/// As [`fill`].
pub fn number() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A new resource ID.
///
/// # Errors
/// As [`fill`].
pub fn resource_id() -> io::Result<ResourceId> {
    let mut bytes = [0; 17];
    fill(&mut bytes)?;
    Ok(ResourceId::from_random(bytes))
}

/// `length` random letters and digits.
///
/// # Errors
/// As [`fill`].
pub fn text(length: usize) -> io::Result<String> {
    const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789xX";
    let mut bytes = vec![0; length];
    fill(&mut bytes)?;
    Ok(bytes
        .into_iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 64)]))
        .collect())
}
