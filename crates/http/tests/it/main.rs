//! The API from outside: requests to a running server on the engine that the environment names.

mod authorization;
mod completions;
mod malformed;
mod openapi;
mod paging;
mod references;
mod resuming;
mod stored;
mod world;
