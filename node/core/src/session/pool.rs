//! Write buffers that idle connections gave back.

/// A buffer that grew above this is freed instead of kept: a burst of large packets must not stay as memory.
const BUFFER_BYTES: usize = 16 * 1024;
/// Memory that one shard keeps in free buffers: enough for a fan-out to some hundred receivers in one round.
const POOL_BYTES: usize = 4 * 1024 * 1024;

/// The free write buffers of one shard, bounded in bytes.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Vec<u8>>,
    bytes: usize,
}

impl Pool {
    /// An empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        let buffer = self.free.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps a buffer that is no longer used, or frees it.
    pub fn put(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes == 0 || bytes > BUFFER_BYTES || self.bytes + bytes > POOL_BYTES {
            return;
        }
        buffer.clear();
        self.bytes += bytes;
        self.free.push(buffer);
    }

    /// Memory in free buffers, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let mut pool = Pool::default();
        for _ in 0..2_000 {
            pool.put(Vec::with_capacity(BUFFER_BYTES));
        }
        assert!(pool.bytes() <= POOL_BYTES && pool.bytes() > POOL_BYTES / 2);
        pool.put(Vec::with_capacity(BUFFER_BYTES + 1));
        while pool.take().capacity() > 0 {}
        assert_eq!(pool.bytes(), 0);
    }
}
