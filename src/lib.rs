//! Keyward issues, rotates, suspends, revokes and checks API keys, application secrets, sessions and access tokens.
//! `README.md` tells how to run it, this page how it is built. Newcomers read `proto/keyward/v1/check.proto`, then
//! `grpc/check.rs`, [`check`], [`domain::decision`], and then `grpc/keys.rs` and down.
//!
//! # The rooms, in reading order
//!
//! | Room | What it is for | What is absent from it |
//! |---|---|---|
//! | [`domain`] | the rules: plain values and pure decisions | async, I/O; clock and randomness are given |
//! | [`check`] | the hot room: [`check::Index`] answers from memory, and alone makes a [`check::Caller`] | waiting, failing, the disk |
//! | [`store`] | the rows: a [`store::Draft`] is the only way to write, [`store::Store::changes_after`] the way to follow; how keys are used is beside the ledger | decisions |
//! | [`replica`] | this process as one of many: the follower alone writes the index, the keeper waits for the others | requests; in [`replica::protocol`], which decides, clocks and I/O |
//! | [`mail`] | the post: sends what mutations queued, at least once | what mails say, and when one is queued |
//! | [`desk`] | commands of admitted callers: a file per resource, a function per RPC | gRPC, SQL |
//! | [`keyring`] | the private halves of the keys that sign JWTs: makes, seals, opens them | requests, which key it is time for |
//! | [`grpc`] | the wire: a file per service; a handler is *admit, convert, command* | rules |
//! | [`proto`] | what is generated from the contract | anything by hand |
//! | [`server`], [`config`], [`telemetry`] | wiring and life; flags, environment and file; logs, metrics, traces | |
//! | [`cli`] | the command line, a file per noun; knows the contract, and of the rest the form of credentials and what `server` does offline | |
//! | [`client`] | for services that ask Keyward: a handle on its replicas, and a layer that asks in front of a service | all the other rooms but [`proto`] |
//! | [`error`], [`clock`] | what a caller can act on; the one reader of the wall clock | gRPC, SQL |
//!
//! ```text
//! main -> cli, server -> grpc ---> desk -> replica -> store --> domain      error: a leaf that all may name
//!                          |  \      \         \----> check --> domain      proto: named by grpc, server, cli, client and tests
//!                          |   \------\-------------> check
//!                          \-> proto
//!                server -> mail -> store                                    mail: named by server only
//!        desk, server -> keyring -> check, store                           keyring: signs what desk says
//! ```
//! [`client`] and [`proto`] are all that is compiled with the feature `client` alone, and need few crates; `server` is the
//! rest but [`cli`], which has a feature of its name and is made of the server's parts.
//!
//! Lints and visibility hold these arrows where they can, `tests/it/tidy.rs` where they cannot.
//!
//! # The walks
//!
//! **Check.** `grpc/observe.rs` times the call, `grpc/services.rs` knows its path, and `grpc/unary.rs` reads its message, past
//! the streams that tonic would make of it. `grpc/check.rs` lets the asker in as the listener says ([`grpc::Door`]), waits if
//! `min_revision` asks for more than is applied (the one wait there is), and makes a [`domain::decision::Query`] of what
//! `check/asked.rs` borrows from the bytes. [`check::Index::check`] hashes the credential, and in one consistent view looks it
//! up and has [`domain::decision::evaluate`] judge it; what leads nowhere is parsed, to tell a broken checksum from an
//! unknown key. `grpc/check.rs` counts the decision and `check/told.rs` writes the reply. Nothing after the door touches the
//! disk.
//!
//! **A request through Envoy** is a Check by another door. What is too large or cannot be read is denied in `grpc/ext_authz.rs`
//! and no error, for a fail-open Envoy lets pass what ends in one. [`domain::route`] says which permission method, host and
//! path need, `ext_authz/presented.rs` which credential was sent, `CheckApi::decide` decides as for Check, and
//! `ext_authz/verdict.rs` makes the reply: the one place that writes "allow".
//!
//! **CreateKey.** `grpc/keys.rs`: `Gate::admit` makes a [`check::Caller`] of the metadata, by the same check as everyone's,
//! and says early what the caller may not touch; `grpc/convert.rs` takes the message apart, naming each field, so that a
//! new one stops the build. [`desk::keys::create`] runs in a task that a client cannot cancel by going away
//! ([`desk::detached`]). [`store::Store::begin`] waits for its turn under the lock of the ledger's head, which those share who
//! come at the same time (`store/group.rs`); the caller's proof is judged again by the rows, and what the caller may do and
//! confer is decided on what cannot change any more. [`store::Draft::commit`] writes rows, change log, event, chain and head
//! in that one transaction. [`replica::Ledger::applied`] tells the follower and waits:
//! `replica/follow.rs` reads the log, verifies the chain, and puts the revision into the index by [`check::Index::apply`],
//! which cannot fail. Only then does the credential leave, once.
//!
//! **RevokeKey** is the same walk, with a longer wait. [`store::Draft::narrows`] asks [`domain::narrow`] whether some Check
//! could be ALLOWED before and DENIED after; if so, [`replica::Ledger::settled`] has `replica/keeper.rs` ask the database,
//! by one statement at a time, whether our event is there and which replicas have confirmed it. What counts as confirmed,
//! when time is up, and who is to be shut out is decided by [`replica::protocol::Barriers`]. On SQLite there is one process,
//! held to be so by a lock on a file beside the database, and its own word is all that is waited for.
//!
//! **A poll.** `replica/follow.rs` reads the head, its own row and the event at what it has applied, in one statement;
//! [`replica::protocol::Member`] says what that means: renew, apply, join again, load anew, refuse. Once everything up to
//! the polled head is in, the index may answer for a lease from when the poll was *sent*; only then is it confirmed.
//!
//! **Mutations that wait together** share a transaction (`store/group.rs`): each has its turn, its own revision and a
//! savepoint, one COMMIT makes them all durable, and none is answered before it has returned. What they will rest on is
//! read for all of them at once, after the head was locked (`store/group/ahead.rs`), and what they write goes to the
//! database together (`store/many.rs`), unless one must see what another wrote. While the head is where this process has left
//! it, nobody else has written: the next group knows what this one has read of callers (`store/group/cache.rs`), and the
//! follower takes our own revisions from memory, if they lead to the head's chain (`store/recent.rs`).
//!
//! **A token or session at a Check.** Its digest leads to a thing like any other ([`check::Index`] holds keys, applications,
//! tokens and sessions in one map by place); from there the entry is followed to what it was made from, to the application
//! and the user that own it, and to the tenant, all in the same view. A token carries the version of the secret that it
//! was made with and the revision that it rests on: it is dead once that secret is rotated out, or once its parent says
//! that it was revoked or deleted at a later revision (`tokens_end_revision`; of a user, `sessions_end_revision`). So
//! ending a parent ends all its tokens by one number, and bringing it back brings back none.
//!
//! **A JWT** is the same without a row. `check/jwt.rs` verifies its signature once and keeps what it says; whether its key
//! is accepted, whether its `jti` is revoked (then it has a row), and all behind its parent are looked up at each Check.
//! [`desk::tokens`] signs one from what the index knows, without a write.
//!
//! **CreateSession.** [`desk::sign_ins`] says whether one may try, the rows say whom the email names, and whatever they say
//! one argon2 is run in [`desk::passwords`]. Under the head lock the hash must still be the one that was compared.
//!
//! **CreateApplication** counts the mail, for nobody is to mail strangers without end through us, and queues it, both in its
//! own transaction ([`store::Draft::queue_mail`]); [`mail`] sends it afterwards and forgets it once it was accepted: none
//! for what was not committed, none lost.
//!
//! **WatchEvents.** [`replica::Steps`] wakes a watch when this replica has applied more; `desk/events/tail.rs` reads the end of
//! the log once for all who watch; `grpc/events.rs` admits the caller anew before each message.
//!
//! **Usage.** [`check::Index`] adds one to a counter in the entry of the key that was shown; `server/usage.rs` takes the counts
//! in parts, about once a minute, and writes numbered flushes (`store/usage.rs`): one whose COMMIT was not answered is found
//! by its number, and so counted once.
//!
//! **A verification** ([`store::Audit`]) reads the whole log and compares the rows, a page at a time, with the last change that
//! it has of each, and needs no server.
//!
//! **A diagnosis** ([`desk::diagnosis`]) asks each room how it is and has [`domain::finding`] say what is wrong with that;
//! `keyward doctor` adds what only a client can see.
//!
//! **A connection** is taken by a loop of our own (`server/listen/accept.rs`), if the caps of its listener leave room. By a
//! deadline it must have done TLS, if there is to be TLS, and have sent the preface of HTTP/2; only then does hyper see it
//! (`server/listen/connection.rs`). One of the data listener is given to the thread that has the fewest, of those that each
//! core has for them (`server/listen/lanes.rs`). Each of its requests carries the peer's address and whom its certificate
//! names ([`grpc::peer::Identity`]) into `grpc`. When it is old, or the server stops, it is told by GOAWAY and its calls may
//! end.
//!
//! # What always holds
//!
//! - *Deny is zero*: a [`domain::decision::Decision`] that nobody evaluated denies, as its value on the wire does.
//! - *One view*: an answer rests on one revision of key, owner and tenant, and on a lease that is valid when it is made.
//!   The index is maps in shards, overwritten in place; a sequence number, odd while that goes on, has readers start again
//!   (`check/index/view.rs`).
//! - *One writer*: only the follower calls [`check::Index::apply`], one revision after the other, for our own commits too;
//!   so `applied` is a prefix of the ledger, never the highest that was seen (`replica/follow.rs`).
//! - *Decided under the lock*: whatever a mutation rests on, the caller first of all, is read after the head was locked
//!   ([`store::Draft::readmit`]). What the gate says before is for a quick refusal only.
//! - *No gap*: revisions are contiguous and chained by hash; a gap stops the answers until everything was loaded anew, another
//!   chain until an operator adopts it (`store/log.rs`, `replica/protocol/member.rs`).
//! - *Events are kept* back to a checkpoint, which only retention moves and an event explains (`store/log/expire.rs`).
//! - *No restriction unread*: a row or log entry for newer binaries stops this one (`store/rows.rs`).
//! - *Nobody confers what they do not hold* ([`domain::actor::Actor::may_confer`]).
//! - *No secret is logged*: credentials and digests have no telling `Debug`; statements and wire dumps are never logged.
//!
//! # What is absent
//!
//! Replicas do not call each other: hints and confirmations go through the database (PostgreSQL's LISTEN and NOTIFY; on
//! MySQL the next poll).
//!
//! # Where it differs from what one might expect
//!
//! - A [`domain::change::Change`] carries the whole thing as it is afterwards, not a verb: a row is the last change of its
//!   thing and the index the fold of the log, so rows, log and index cannot disagree about what a verb means. The verb is in the
//!   event.
//! - There is no `Change` for each RPC and no `store/commit.rs`: a [`store::Draft`] is the turn in a transaction, from the
//!   lock to the commit, since reading under the lock and writing belong together.
//! - A change of the ledger that has no things in it (`ledger.adopt`) is a revision too.
//! - The keeper asks again every few milliseconds while somebody waits, instead of being told by each replica: with many
//!   replicas that is the fewer messages.
//! - `desk` returns the new thing as it was committed rather than reading it back.

#[cfg(feature = "server")]
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod desk;
#[cfg(feature = "server")]
pub mod domain;
#[cfg(feature = "server")]
pub mod error;
#[cfg(test)]
mod fuzz;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod keyring;
#[cfg(feature = "server")]
pub mod mail;
pub mod proto;
#[cfg(feature = "server")]
pub mod replica;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
