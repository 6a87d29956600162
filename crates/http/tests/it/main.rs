//! The API from outside: requests to a running server on the engine that the environment names.

mod authorization;
mod malformed;
mod openapi;
mod paging;
mod references;
mod world;
