//! How a password is kept, and what checking one costs: argon2id with OWASP's parameters, in a pool of its own, so that
//! whoever tries many passwords keeps nobody waiting but others who do. Every check costs one hash, whether or not
//! there is anything to compare with. Those who set passwords have places of their own: neither takes those of the other.

use crate::domain::password::{Password, PasswordHash};
use crate::error::{Error, Result};
use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use std::fmt;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

/// KiB of memory, passes and lanes: OWASP's recommendation for argon2id. Rows keep the parameters they were made with.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// At most this many are hashed at once, and never on more than half of the cores: the rest is for Check.
const MAX_WORKERS: usize = 4;

/// So many wait for each that is being hashed; more are told to come again.
const WAITING_PER_WORKER: usize = 32;

/// So many wait to have a password set, or have it hashed; more are told to come again. At most one of them is at work or
/// in the workers' queue, so that whoever signs in waits for no more than that one.
const SETTING: usize = 16;

/// When to come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where passwords are hashed. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    /// A permit for everybody inside to have a password checked, at work or waiting.
    checking: Arc<Semaphore>,
    /// A permit for everybody inside to have one set, and one for whose turn it is.
    setting: Arc<Semaphore>,
    setting_next: Arc<Semaphore>,
    /// A permit for everybody at work.
    workers: Arc<Semaphore>,
    worker_count: usize,
    /// Compared with where there is nothing to compare with.
    dummy: PasswordHash,
}

/// How busy the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordLoad {
    /// How many passwords may be hashed at once.
    pub workers: usize,
    /// How many are.
    pub busy: usize,
    /// How many wait.
    pub queued: usize,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("workers", &self.worker_count).finish_non_exhaustive()
    }
}

impl Passwords {
    /// A pool for this machine.
    pub fn start() -> Result<Self> {
        let cores = available_parallelism().map_or(1, usize::from);
        Self::with_workers((cores / 2).clamp(1, MAX_WORKERS))
    }

    fn with_workers(worker_count: usize) -> Result<Self> {
        Ok(Self {
            checking: Arc::new(Semaphore::new(places(worker_count))),
            setting: Arc::new(Semaphore::new(SETTING)),
            setting_next: Arc::new(Semaphore::new(1)),
            workers: Arc::new(Semaphore::new(worker_count)),
            worker_count,
            // Nobody's: what it is a hash of is made here and forgotten at once.
            dummy: hashed(uuid::Uuid::new_v4().as_bytes())?,
        })
    }

    /// How many are hashed at once.
    pub fn worker_count(&self) -> usize {
        self.worker_count
    }

    /// How busy it is. What is counted while somebody comes or goes may be one more or less.
    pub fn load(&self) -> PasswordLoad {
        let busy = self.worker_count.saturating_sub(self.workers.available_permits());
        let checking = places(self.worker_count).saturating_sub(self.checking.available_permits());
        let setting = SETTING.saturating_sub(self.setting.available_permits());
        let queued = checking.saturating_add(setting).saturating_sub(busy);
        PasswordLoad { workers: self.worker_count, busy, queued }
    }

    /// Hashes a password to be kept.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash> {
        self.set(move || hashed(password.expose())).await
    }

    /// Whether it is the password of `kept`. With `None` it is not, and that takes as long to say.
    pub async fn verify(&self, password: Password, kept: Option<PasswordHash>) -> Result<bool> {
        let is_there = kept.is_some();
        let kept = kept.unwrap_or_else(|| self.dummy.clone());
        let is_same = self.check(move || compared(password.expose(), &kept)).await?;
        Ok(is_there && is_same)
    }

    async fn check<T: Send + 'static>(&self, job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let place = place_in(&self.checking, "passwords being checked at the same time")?;
        self.work(place, job).await
    }

    async fn set<T: Send + 'static>(&self, job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let place = place_in(&self.setting, "passwords being set at the same time")?;
        let turn = Arc::clone(&self.setting_next).acquire_owned().await.map_err(Error::internal)?;
        self.work((place, turn), job).await
    }

    /// Waits for its turn, and keeps `place` until the end. Whoever goes away while waiting costs nothing; a hash that has
    /// begun is finished.
    async fn work<T: Send + 'static>(
        &self,
        place: impl Send + 'static,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(Error::internal)?;
        let finished = spawn_blocking(move || {
            let result = job();
            drop((worker, place));
            result
        });
        finished.await.map_err(Error::internal)?
    }
}

/// So many may have a password checked, at work or waiting.
const fn places(worker_count: usize) -> usize {
    worker_count.saturating_mul(WAITING_PER_WORKER.saturating_add(1))
}

fn place_in(places: &Arc<Semaphore>, limit: &str) -> Result<OwnedSemaphorePermit> {
    let refused = |_| Error::Exhausted { limit: limit.to_owned(), retry_after: Some(RETRY_AFTER) };
    Arc::clone(places).try_acquire_owned().map_err(refused)
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hashed(password: &[u8]) -> Result<PasswordHash> {
    let hash: phc::PasswordHash =
        argon2()?.hash_password(password).map_err(|error| Error::internal(error.to_string()))?;
    Ok(PasswordHash::of_row(hash.to_string()))
}

fn compared(password: &[u8], kept: &PasswordHash) -> Result<bool> {
    let broken = || Error::internal("a password's row makes no sense");
    let kept = phc::PasswordHash::new(kept.as_str()).map_err(|_| broken())?;
    match argon2()?.verify_password(password, &kept) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(broken()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::shown(text.to_owned(), "f").unwrap()
    }

    #[tokio::test]
    async fn what_is_kept_is_an_argon2id_hash_that_only_the_password_matches() {
        let passwords = Passwords::with_workers(1).unwrap();
        let kept = passwords.hash(password("correct horse")).await.unwrap();
        assert!(kept.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", kept.as_str());
        assert_eq!(format!("{kept:?} {passwords:?}"), "PasswordHash(********) Passwords { workers: 1, .. }");
        assert!(passwords.verify(password("correct horse"), Some(kept.clone())).await.unwrap());
        assert!(!passwords.verify(password("correct  horse"), Some(kept.clone())).await.unwrap());
        assert!(!passwords.verify(password("correct horse"), None).await.unwrap());
        assert_ne!(passwords.hash(password("correct horse")).await.unwrap(), kept, "each has a salt of its own");
        let broken =
            passwords.verify(password("correct horse"), Some(PasswordHash::of_row("nonsense".to_owned()))).await;
        assert!(matches!(broken, Err(Error::Internal(_))));
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_still_counts() {
        let params = Params::new(64, 1, 1, None).unwrap();
        let old = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(b"correct horse").unwrap();
        let passwords = Passwords::with_workers(1).unwrap();
        assert!(
            passwords.verify(password("correct horse"), Some(PasswordHash::of_row(old.to_string()))).await.unwrap()
        );
    }

    #[tokio::test]
    async fn a_flood_is_refused_and_then_over() {
        let passwords = Passwords::with_workers(1).unwrap();
        let flood: Vec<_> = (0..100)
            .map(|_| {
                let passwords = passwords.clone();
                let slow = || {
                    std::thread::sleep(Duration::from_millis(2));
                    Ok(())
                };
                tokio::spawn(async move { passwords.check(slow).await })
            })
            .collect();
        let mut refused = 0;
        for one in flood {
            match one.await.unwrap() {
                Ok(()) => {}
                Err(Error::Exhausted { retry_after: Some(_), .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(refused, 100 - 1 - WAITING_PER_WORKER);
        assert!(passwords.check(|| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_stops_waiting_leaves_the_queue() {
        let passwords = Passwords::with_workers(1).unwrap();
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let busy = tokio::spawn({
            let passwords = passwords.clone();
            async move { passwords.check(move || Ok(told.recv().is_ok())).await }
        });
        tokio::task::yield_now().await;
        let waiting: Vec<_> = (0..WAITING_PER_WORKER)
            .map(|_| {
                tokio::spawn({
                    let passwords = passwords.clone();
                    async move { passwords.check(|| Ok(())).await }
                })
            })
            .collect();
        while passwords.checking.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        for one in waiting {
            one.abort();
            assert!(one.await.is_err());
        }
        assert_eq!(passwords.checking.available_permits(), WAITING_PER_WORKER);
        tell.send(()).unwrap();
        assert!(busy.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn neither_those_who_set_nor_those_who_check_take_the_others_places() {
        let passwords = Passwords::with_workers(1).unwrap();
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let told = std::sync::Mutex::new(told);
        let wait = Arc::new(move || Ok(told.lock().unwrap().recv().is_ok()));
        let setting: Vec<_> = (0..100)
            .map(|_| {
                let (passwords, wait) = (passwords.clone(), Arc::clone(&wait));
                tokio::spawn(async move { passwords.set(move || wait()).await })
            })
            .collect();
        while passwords.setting.available_permits() > 0 || passwords.workers.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let checking: Vec<_> = (0..=WAITING_PER_WORKER)
            .map(|_| {
                let (passwords, wait) = (passwords.clone(), Arc::clone(&wait));
                tokio::spawn(async move { passwords.check(move || wait()).await })
            })
            .collect();
        while passwords.checking.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let queued = SETTING + WAITING_PER_WORKER;
        assert_eq!(passwords.load(), PasswordLoad { workers: 1, busy: 1, queued });
        // Only the one that has begun is ahead of those who check.
        for _ in 0..=checking.len() {
            tell.send(()).unwrap();
        }
        for one in checking {
            assert!(one.await.unwrap().unwrap());
        }
        assert_eq!(passwords.setting.available_permits(), 1);
        for _ in 1..SETTING {
            tell.send(()).unwrap();
        }
        let mut set = 0;
        for one in setting {
            match one.await.unwrap() {
                Ok(is_told) => set += usize::from(is_told),
                Err(Error::Exhausted { retry_after: Some(_), .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(set, SETTING);
        assert_eq!(passwords.load(), PasswordLoad { workers: 1, busy: 0, queued: 0 });
    }
}
