//! Text analysis, full-text and vector search, fusion, scores.
