//! [`Servers`]: several servers of which any will do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Answer, Client, Failure, Request};

/// Clients of several servers that know the same. The one that answered last is asked first.
#[derive(Clone, Debug)]
pub(crate) struct Servers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// At least one.
    clients: Vec<Client>,
    first: AtomicUsize,
}

// ===== impl Servers =====

impl Servers {
    /// These; `None` if there are none.
    pub(crate) fn new(clients: Vec<Client>) -> Option<Servers> {
        (!clients.is_empty()).then(|| {
            Servers(Arc::new(Inner {
                clients,
                first: AtomicUsize::new(0),
            }))
        })
    }

    /// Asks one server after the other until one answers with a status that `good` likes, and says which one
    /// it was. If none does, the last answer counts, or the last failure if there is no answer at all; it is
    /// told of every server.
    ///
    /// # Errors
    ///
    /// None answers within `timeout`, which covers all of them: each gets an equal share of what is left.
    pub(crate) async fn send(
        &self,
        request: &Request,
        timeout: Duration,
        max_body: usize,
        good: impl Fn(u16) -> bool,
    ) -> Result<(usize, Answer), String> {
        let deadline = Instant::now() + timeout;
        let count = self.0.clients.len();
        let first = self.0.first.load(Ordering::Relaxed);
        let mut answered = None;
        let mut failed = Vec::new();
        for step in 0..count {
            let index = (first + step) % count;
            let Some(client) = self.0.clients.get(index) else {
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(count - step).unwrap_or(1).max(1);
            match client.send(request, share, max_body).await {
                Ok(answer) if good(answer.status) => {
                    self.0.first.store(index, Ordering::Relaxed);
                    return Ok((index, answer));
                }
                Ok(answer) => answered = Some((index, answer)),
                // Another server would say the same.
                Err(failure @ (Failure::TooLarge(_) | Failure::Unwritable(_))) => {
                    return Err(format!("{}: {failure}", client.origin()));
                }
                Err(failure) => failed.push(format!("{}: {failure}", client.origin())),
            }
        }
        answered.ok_or_else(|| failed.join("; "))
    }

    /// Asks the server that is first now. If it does not answer, another one is first from then on.
    ///
    /// # Errors
    ///
    /// It does not answer within `timeout`.
    pub(crate) async fn send_to_first(
        &self,
        request: &Request,
        timeout: Duration,
        max_body: usize,
    ) -> Result<Answer, String> {
        let index = self.0.first.load(Ordering::Relaxed);
        let sent = self.send_to(index, request, timeout, max_body).await;
        if sent.is_err() {
            let next = (index + 1) % self.0.clients.len();
            // Unless somebody else has found out already.
            let _ =
                self.0
                    .first
                    .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        sent
    }

    /// Asks this server.
    ///
    /// # Errors
    ///
    /// It does not answer within `timeout`.
    pub(crate) async fn send_to(
        &self,
        index: usize,
        request: &Request,
        timeout: Duration,
        max_body: usize,
    ) -> Result<Answer, String> {
        let Some(client) = self.0.clients.get(index) else {
            return Err(format!("there is no server of the number {index}"));
        };
        client
            .send(request, timeout, max_body)
            .await
            .map_err(|failure| format!("{}: {failure}", client.origin()))
    }
}
