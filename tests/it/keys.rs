//! The rules of keys, from their making to their end.

mod create;
mod leaked;
mod life;
mod read;
mod secrets;
mod update;
