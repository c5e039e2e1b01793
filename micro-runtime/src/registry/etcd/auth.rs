//! [`Tokens`]: what calls show for a user and a password.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::endpoint::Credentials;
use super::link::{Link, copy};
use super::pb;
use super::rpc::Terms;
use crate::lock::lock;
use crate::status::{Code, Result, Status};

/// A refusal serves whoever else waits; bcrypt makes each attempt dear for the server.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// What a call shows: nothing where the server has no users.
pub(super) type Token = Option<Arc<str>>;

/// The token of a user, fetched once for all who need it.
pub(super) struct Tokens {
    credentials: Option<Credentials>,
    /// Held for short sections without a wait.
    state: Mutex<Current>,
    /// Whose turn it is to fetch one.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    token: Option<Token>,
    refused: Option<(Status, Instant)>,
}

// ===== impl Tokens =====

impl Tokens {
    pub(super) fn new(credentials: Option<Credentials>) -> Tokens {
        Tokens {
            credentials,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// The token that there is, or a new one.
    pub(super) async fn get(&self, link: &Link, terms: &Terms) -> Result<Token> {
        let Some(credentials) = &self.credentials else {
            return Ok(None);
        };
        if let Some(known) = self.known() {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known() {
            return known;
        }
        let request = pb::AuthenticateRequest {
            name: credentials.user.clone(),
            password: credentials.password.clone(),
        };
        let answer = terms.apply(link.auth.authenticate(request)).await;
        let mut state = self.lock();
        match answer {
            Ok(answer) => {
                let token: Token = Some(answer.token.into());
                state.token = Some(token.clone());
                state.refused = None;
                Ok(token)
            }
            // The server has no users: calls need no token, until they are refused without one.
            Err(status) if status.code() == Code::FailedPrecondition => {
                state.token = Some(None);
                Ok(None)
            }
            Err(status) => {
                if status.code() == Code::InvalidArgument {
                    state.refused = Some((copy(&status), Instant::now()));
                }
                Err(status)
            }
        }
    }

    /// That a token was refused; whether another one may help.
    pub(super) fn refused(&self, token: &Token) -> bool {
        let mut state = self.lock();
        if state.token.as_ref() == Some(token) {
            state.token = None;
        }
        self.credentials.is_some()
    }

    fn known(&self) -> Option<Result<Token>> {
        let state = self.lock();
        if let Some(token) = &state.token {
            return Some(Ok(token.clone()));
        }
        match &state.refused {
            Some((status, at)) if at.elapsed() < REFUSED_FOR => Some(Err(copy(status))),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        lock(&self.state)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// Whether a refusal, by a status or by a watch's reason, is one that another token may mend.
pub(super) fn wants_token(code: Code, message: &str) -> bool {
    match code {
        Code::Unauthenticated => true,
        Code::InvalidArgument => is_about_token(message),
        _ => false,
    }
}

/// The words for it in etcd's own errors (api/v3rpc/rpctypes): all that a watch says.
pub(super) fn is_about_token(reason: &str) -> bool {
    [
        "invalid auth token",
        "user name is empty",
        "revision in auth token is old",
        "revision of auth store is old",
    ]
    .iter()
    .any(|words| reason.contains(words))
}

impl fmt::Debug for pb::AuthenticateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateRequest")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for pb::AuthenticateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateResponse")
            .finish_non_exhaustive()
    }
}
