//! Hashing and verifying one password: argon2id, 8 MiB, 1 pass, 1 lane, as a PHC string.
//!
//! Called on the hashing threads and by the commands that create credentials. A hash takes some milliseconds
//! and its memory; it must never run on a shard or on the runtime.

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{Output, PasswordHash, Salt, SaltString},
};
use ring::rand::SecureRandom;

/// Memory of one hash in KiB: devices log in by the thousands after an outage, and 8 MiB for each thread is what
/// a small node can spare.
const MEMORY_KIB: u32 = 8 * 1024;
const PASSES: u32 = 1;
const LANES: u32 = 1;
/// A stored hash that asks for more than this is refused: its cost would be a way to stop the node.
const MAX_MEMORY_KIB: u32 = 64 * 1024;
const MAX_PASSES: u32 = 16;
/// Bytes of a hash.
const OUTPUT_BYTES: usize = 32;
/// Bytes of a salt, as argon2 recommends.
const SALT_BYTES: usize = 16;

/// Hashing a new password failed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The system gave no random bytes.
    #[error("no randomness for a salt")]
    Randomness,
    /// The password is longer than argon2 takes.
    #[error("password cannot be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// Hashes a new password with a fresh salt, as a PHC string.
///
/// # Errors
///
/// [`HashError`].
pub fn hash_password(password: &[u8]) -> Result<String, HashError> {
    let mut salt = [0; SALT_BYTES];
    ring::rand::SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| HashError::Randomness)?;
    let salt = SaltString::encode_b64(&salt).map_err(HashError::Hash)?;
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_BYTES))
        .map_err(|error| HashError::Hash(error.into()))?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2::PasswordHasher::hash_password(&hasher, password, salt.as_salt());
    Ok(hash.map_err(HashError::Hash)?.to_string())
}

/// A PHC string that no password verifies, and that costs as much to try as one of ours.
pub(super) fn unmatched() -> Result<String, HashError> {
    let mut random = [0; SALT_BYTES + OUTPUT_BYTES];
    ring::rand::SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| HashError::Randomness)?;
    let (salt, output) = random.split_at(SALT_BYTES);
    let salt = SaltString::encode_b64(salt).map_err(HashError::Hash)?;
    let output = Output::new(output).map_err(HashError::Hash)?;
    Ok(format!(
        "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}"
    ))
}

/// Memory that one hashing thread uses again and again. It is kept: the allocator would not give blocks of this
/// size back to the system, and a first login must not make the node grow.
pub(super) struct Scratch(Vec<Block>);

impl Scratch {
    /// Memory for hashes of our own cost, touched.
    pub(super) fn new() -> Self {
        // A block is a KiB.
        Self(vec![Block::default(); MEMORY_KIB as usize])
    }

    /// Whether `password` is the one of the PHC string; false as well if the string is none of ours.
    pub(super) fn verify(&mut self, phc: &str, password: &[u8]) -> bool {
        self.try_verify(phc, password).unwrap_or(false)
    }

    fn try_verify(&mut self, phc: &str, password: &[u8]) -> Option<bool> {
        let hash = PasswordHash::new(phc).ok()?;
        let algorithm = Algorithm::try_from(hash.algorithm).ok()?;
        let version = hash.version.unwrap_or(0x13).try_into().ok()?;
        let params = Params::try_from(&hash).ok()?;
        if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES {
            return None;
        }
        let expected = hash.hash?;
        let mut salt = [0; Salt::MAX_LENGTH];
        let salt = hash.salt?.decode_b64(&mut salt).ok()?;
        if self.0.len() < params.block_count() {
            self.0.resize(params.block_count(), Block::default());
        }
        let blocks = &mut self.0[..params.block_count()];
        let hasher = Argon2::new(algorithm, version, params);
        let mut bytes = [0; Output::MAX_LENGTH];
        let bytes = bytes.get_mut(..expected.len())?;
        hasher
            .hash_password_into_with_memory(password, salt, bytes, blocks)
            .ok()?;
        // Output compares in constant time.
        Some(Output::new(bytes).ok()? == expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_a_phc_string_that_only_its_password_verifies() {
        let phc = hash_password(b"secret").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=8192,t=1,p=1$"), "{phc}");
        let mut scratch = Scratch::new();
        assert!(scratch.verify(&phc, b"secret"));
        assert!(!scratch.verify(&phc, b"Secret"));
        assert!(!scratch.verify(&phc, b""));
        assert!(scratch.verify(&phc, b"secret"), "used memory does no harm");
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(
            hash_password(b"secret").unwrap(),
            hash_password(b"secret").unwrap()
        );
    }

    #[test]
    fn strings_that_are_no_hash_or_too_costly_verify_nothing() {
        let mut scratch = Scratch::new();
        let phc = hash_password(b"x").unwrap();
        for bad in [
            "",
            "x",
            "$argon2id$",
            "$argon2id$v=19$m=8192,t=1,p=1$",
            "$scrypt$ln=1$aa$bb",
        ] {
            assert!(!scratch.verify(bad, b"x"), "{bad}");
        }
        assert!(!scratch.verify(&unmatched().unwrap(), b"x"));
        let costly = phc.replace("m=8192", "m=4194304");
        assert!(!scratch.verify(&costly, b"x"));
    }
}
