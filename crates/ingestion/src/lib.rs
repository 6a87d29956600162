//! Bytes to pages to passages, in a boxed child process.
