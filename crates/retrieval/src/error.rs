//! What can go wrong in an index.

/// A failure of an index. None of them is the fault of the question or the passage: the caller
/// logs it, and rebuilds the index from the database when it persists.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The full-text index could not be read or written.
    #[error("full-text index: {0}")]
    Text(#[from] tantivy::TantivyError),
    /// A file of an index could not be read or written.
    #[error("index files: {0}")]
    Files(#[from] std::io::Error),
    /// The database of the vector index could not be read or written.
    #[error("vector database: {0}")]
    VectorDatabase(#[from] heed::Error),
    /// The vector index could not be read or written.
    #[error("vector index: {0}")]
    Vectors(#[from] hannoy::Error),
    /// A vector has another length than those of its knowledge base and generation, or is not finite.
    #[error("a vector of {received} numbers where {expected} finite ones belong")]
    VectorShape {
        /// Length of the vectors in place.
        expected: usize,
        /// Length of the vector given.
        received: usize,
    },
    /// There are as many knowledge bases with vectors as the index can number.
    #[error("no number is left for another knowledge base in the vector index")]
    TooManyBases,
    /// An entry of the vector database cannot be understood; the index must be rebuilt.
    #[error("the vector database holds an entry that cannot be read: {0}")]
    VectorEntry(&'static str),
}

/// Result with an index [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
