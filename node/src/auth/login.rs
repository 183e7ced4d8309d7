//! A CONNECT's username and password against the catalog.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use mainstay_core::{
    catalog::{Catalog, Credential},
    ids::{Principal, ResourceId},
};
use tokio::sync::watch;

use super::{
    cache::{Cache, Tag},
    metrics,
    password::{HashError, unmatched},
    pool::{Busy, Pool},
};
use crate::tasks::Tasks;

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Unknown user, wrong or missing password: CONNACK 4.
    #[error("bad user name or password")]
    BadCredentials,
    /// The check could not be made in time: CONNACK 3.
    #[error("too many logins wait for a password check")]
    Busy,
}

/// Starting the password check failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No hash to compare unknown users with.
    #[error("cannot make the hash for unknown users")]
    Hash(#[from] HashError),
    /// No thread.
    #[error("cannot start the hashing threads")]
    Thread(#[from] std::io::Error),
}

/// What became of a check; `None` while it is under way.
type Answer = Option<Result<bool, Busy>>;

/// Checks passwords. A clone shares threads and cache.
#[derive(Clone)]
pub struct Authenticator {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    cache: Cache,
    /// Checks under way: whoever comes with the same pair waits for the one answer. Bounded by the connections
    /// before login.
    running: Mutex<HashMap<Tag, watch::Receiver<Answer>>>,
    /// An unknown user costs a hash as well, or the time would tell which users exist.
    dummy: Arc<str>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Starts the hashing threads.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn spawn(tasks: &Tasks) -> Result<Self, StartError> {
        let inner = Inner {
            pool: Pool::spawn(tasks)?,
            cache: Cache::new().ok_or(HashError::Randomness)?,
            running: Mutex::default(),
            dummy: unmatched()?.into(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Who the client is.
    ///
    /// # Errors
    ///
    /// [`Denied`], which says the CONNACK code too.
    pub async fn check(
        &self,
        catalog: &Catalog,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<(Principal, Credential), Denied> {
        let result = self
            .look_up(catalog, username, password.unwrap_or_default())
            .await;
        metrics::checked(result.err());
        result
    }

    async fn look_up(
        &self,
        catalog: &Catalog,
        username: Option<&str>,
        password: &[u8],
    ) -> Result<(Principal, Credential), Denied> {
        let id: Option<ResourceId> = username.and_then(|name| name.parse().ok());
        let found = id.and_then(|id| catalog.login(&id));
        let Some((principal, passwords)) = found.filter(|(_, all)| !all.is_empty()) else {
            self.verify(self.inner.dummy.clone(), password).await?;
            return Err(Denied::BadCredentials);
        };
        let credential = |password: &mainstay_core::catalog::Password| {
            (principal, Credential::Password(password.id))
        };
        // Known pairs of all passwords first: a second password must not cost the hash of the first each time.
        let tag = |phc: &str| self.inner.cache.tag(phc, password);
        if let Some(known) = passwords
            .iter()
            .find(|p| self.inner.cache.contains(tag(&p.phc)))
        {
            return Ok(credential(known));
        }
        for candidate in passwords {
            if self.verify(candidate.phc.clone(), password).await? {
                return Ok(credential(candidate));
            }
        }
        Err(Denied::BadCredentials)
    }

    /// Verifies one pair, once for all who ask at the same time.
    async fn verify(&self, phc: Arc<str>, password: &[u8]) -> Result<bool, Denied> {
        let tag = self.inner.cache.tag(&phc, password);
        loop {
            let (sender, mut receiver) = match self.join(tag) {
                Joined::First(sender) => (Some(sender), None),
                Joined::Waiting(receiver) => (None, Some(receiver)),
            };
            if let Some(sender) = sender {
                let _entry = Entry {
                    inner: &self.inner,
                    tag,
                };
                let result = self.inner.pool.verify(phc, password).await;
                if result == Ok(true) {
                    self.inner.cache.insert(tag);
                }
                let _ = sender.send(Some(result));
                return result.map_err(|Busy| Denied::Busy);
            }
            if let Some(receiver) = &mut receiver
                && let Ok(result) = receiver.wait_for(Option::is_some).await
                && let Some(result) = *result
            {
                return result.map_err(|Busy| Denied::Busy);
            }
            // Whoever was first has gone away without an answer: someone else is first now.
        }
    }

    fn join(&self, tag: Tag) -> Joined {
        let mut running = self
            .inner
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = running.get(&tag) {
            return Joined::Waiting(receiver.clone());
        }
        let (sender, receiver) = watch::channel(None);
        running.insert(tag, receiver);
        Joined::First(sender)
    }
}

enum Joined {
    First(watch::Sender<Answer>),
    Waiting(watch::Receiver<Answer>),
}

/// Takes the check off the list, also when its future is dropped.
struct Entry<'a> {
    inner: &'a Inner,
    tag: Tag,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut running = self
            .inner
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.tag);
    }
}
