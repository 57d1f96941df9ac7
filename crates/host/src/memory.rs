//! What the process holds of the machine's memory.

/// Gives back what was freed. Reading a large configuration takes several times what is kept of it, and an allocator keeps the
/// difference; call it when that is over. Takes milliseconds, and only where the C library can do it (glibc's malloc_trim(3)).
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes an integer, locks each arena as malloc does, and touches only what is free.
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}
