//! Who may do what: every RPC times every kind of caller, and every road by which somebody might get more.

mod door;
mod escalation;
mod matrix;
mod race;
mod raw;
mod table;
