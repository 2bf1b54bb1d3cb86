//! Beside what others use: Redis `GET` of a key, and Cerbos `CheckResources`. `tests/bench/peers` starts both and says where
//! they are: the words are Redis's port and process, and Cerbos's.

use crate::load::Block;
use crate::load::Way;
use crate::wire::{Replies, Script};
use crate::world::frame;
use crate::{BLOCK, ROUNDS, Subject, Sum, closed, used};
use prost::Message;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections with one request in flight on each.
const CONNECTIONS: usize = 32;
const CHECK_RESOURCES: &str = "/cerbos.svc.v1.CerbosService/CheckResources";
const KEY: &str = "kw_check";
const VALUE: &str = "DECISION_ALLOWED tenants/acme/keys/0193f3a0-0000-7000-8000-000000000000 apis/maps use";

/// What `tests/bench/peers` tells its Cerbos to allow: `use` of `apis/maps` by a key.
#[derive(Clone, PartialEq, Message)]
struct CheckResourcesRequest {
    #[prost(string, tag = "1")]
    request_id: String,
    #[prost(message, optional, tag = "3")]
    principal: Option<Principal>,
    #[prost(message, repeated, tag = "4")]
    resources: Vec<ResourceEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct Principal {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "3")]
    roles: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceEntry {
    #[prost(string, repeated, tag = "1")]
    actions: Vec<String>,
    #[prost(message, optional, tag = "2")]
    resource: Option<Resource>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "3")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResourcesResponse {
    #[prost(message, repeated, tag = "2")]
    results: Vec<ResultEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ResultEntry {
    #[prost(btree_map = "string, int32", tag = "2")]
    actions: std::collections::BTreeMap<String, i32>,
}

/// `EFFECT_ALLOW`.
const ALLOW: i32 = 1;

fn is_allowed(framed: &[u8]) -> bool {
    CheckResourcesResponse::decode(&framed[5..])
        .is_ok_and(|reply| reply.results.len() == 1 && reply.results[0].actions.get("use") == Some(&ALLOW))
}

fn question() -> &'static Script {
    let resource = Resource { kind: "api".to_owned(), id: "maps".to_owned() };
    let request = CheckResourcesRequest {
        request_id: "1".to_owned(),
        principal: Some(Principal { id: "ci".to_owned(), roles: vec!["key".to_owned()] }),
        resources: vec![ResourceEntry { actions: vec!["use".to_owned()], resource: Some(resource) }],
    };
    let requests = vec![frame(&request); CONNECTIONS];
    Box::leak(Box::new(Script { path: CHECK_RESOURCES, requests, replies: Replies::Judged(is_allowed) }))
}

/// Prints what each takes of a core.
pub(crate) async fn compare(trio: &[Subject; 3], words: &[String]) {
    let [redis, redis_process, cerbos, cerbos_process] = words else { panic!("two ports, each with a process") };
    let number = |word: &String| word.parse::<u32>().expect("a number");
    let cerbos =
        Subject { address: format!("127.0.0.1:{cerbos}"), process: number(cerbos_process), script: question() };
    let subject = |subject: &Subject| Subject { address: subject.address.clone(), ..*subject };
    let [check, echo, default] = trio;
    let subjects = [subject(check), subject(echo), subject(default), cerbos];
    let mut redis = Redis::connect(&format!("127.0.0.1:{redis}")).await;
    let mut of_redis = Sum::default();
    for round in 0..=ROUNDS {
        let before = used(number(redis_process));
        let block = redis.block().await;
        if round > 0 {
            of_redis.add(block, used(number(redis_process)).saturating_sub(before));
        }
    }
    let sums = closed(&subjects, (CONNECTIONS, 1), Way::Calls).await;
    let per_core = sums[0].per_core();
    println!("\nOne request in flight on each of {CONNECTIONS} connections, beside others\n");
    println!("| server | requests/s per core | Check / it |\n|---|---:|---:|");
    let names = ["Check", "bare tonic echo, one thread", "bare tonic echo, default runtime", "Cerbos CheckResources"];
    for (name, sum) in names.iter().zip(&sums).chain([(&"Redis GET", &of_redis)]) {
        println!("| {name} | {:.0} | {:.2} |", sum.per_core(), per_core / sum.per_core());
    }
}

struct Redis(Vec<TcpStream>);

impl Redis {
    async fn connect(address: &str) -> Self {
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address).await.expect("Redis");
            stream.set_nodelay(true).expect("a socket");
            streams.push(stream);
        }
        let set = format!("SET {KEY} \"{VALUE}\"\r\n");
        streams[0].write_all(set.as_bytes()).await.expect("it takes");
        let mut answer = [0; 5];
        streams[0].read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"+OK\r\n");
        Self(streams)
    }

    async fn block(&mut self) -> Block {
        let begin = Instant::now();
        let mut connections = JoinSet::new();
        for mut stream in self.0.drain(..) {
            connections.spawn(async move {
                let question = format!("*2\r\n$3\r\nGET\r\n${}\r\n{KEY}\r\n", KEY.len());
                let expected = format!("${}\r\n{VALUE}\r\n", VALUE.len());
                let (mut answer, mut latencies) = (vec![0; expected.len()], Vec::new());
                while begin.elapsed() < BLOCK {
                    let sent = Instant::now();
                    stream.write_all(question.as_bytes()).await.expect("it takes");
                    stream.read_exact(&mut answer).await.expect("an answer");
                    assert_eq!(answer, expected.as_bytes());
                    latencies.push(sent.elapsed());
                }
                (stream, latencies)
            });
        }
        let mut block = Block::default();
        for (stream, latencies) in connections.join_all().await {
            self.0.push(stream);
            block.answered += latencies.len();
            block.latencies.extend(latencies);
        }
        block.elapsed = begin.elapsed();
        block
    }
}
