//! The API from outside: requests to a running server on the engine that the environment names.

mod authorization;
mod chatbots;
mod completions;
mod knowledge;
mod malformed;
mod openapi;
mod paging;
mod providers;
mod references;
mod resuming;
mod retrieval;
mod stored;
mod uploads;
mod world;
