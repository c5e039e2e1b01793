//! A call behind interceptors.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::head;
use super::limit::Limit;
use super::plan::Plan;
use crate::exchange::BoxFuture;
use crate::interceptor::{Attempts, Invocation, MethodName, Next, Outcome, Side};
use crate::status::{Result, Status};

/// The interceptors and the call inside, under the call's limit, which an interceptor does not know of.
pub(super) struct Intercepted {
    run: BoxFuture<'static, Result<Outcome>>,
    limit: Limit,
}

/// Puts the interceptors of a client around `call`, which gets the plan with the metadata, and the request, as
/// they leave them.
pub(super) fn intercept<Req, F, Fut>(
    mut plan: Plan,
    method: MethodName,
    request: Option<Req>,
    call: F,
) -> Intercepted
where
    Req: Send + 'static,
    F: FnOnce(Plan, Option<Req>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Outcome>> + Send + 'static,
{
    let attempts = Attempts::default();
    plan.observed = true;
    plan.observer = Some(attempts.clone());
    let invocation = Invocation {
        side: Side::Client,
        service: Arc::clone(plan.target.shared_name()),
        method,
        metadata: std::mem::take(&mut plan.metadata),
        message: request.map(|request| Box::new(request) as Box<dyn Any + Send>),
        context: plan.limit.context().cloned(),
        attempts: Some(attempts),
    };
    let chain = Arc::clone(&plan.target.settings().interceptors);
    let limit = plan.limit.twin();
    let next = Next::new(chain, move |invocation: Invocation| async move {
        plan.metadata = invocation.metadata;
        head::check(&plan.metadata).map_err(Status::internal)?;
        let request = match invocation.message.map(<Box<dyn Any + Send>>::downcast) {
            None => None,
            Some(Ok(request)) => Some(*request),
            Some(Err(_)) => {
                return Err(Status::internal(
                    "an interceptor gave the call a request of another type than its method's",
                ));
            }
        };
        call(plan, request).await
    });
    Intercepted {
        run: Box::pin(next.run(invocation)),
        limit,
    }
}

// ===== impl Intercepted =====

impl Intercepted {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Outcome>> {
        if let Poll::Ready(outcome) = self.run.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        let over = ready!(self.limit.poll(cx));
        Poll::Ready(Err(self.limit.status(over, "its interceptors ran")))
    }
}

/// What an outcome holds.
///
/// # Errors
/// An interceptor answered, with something else.
pub(super) fn message_of<M: 'static>(outcome: Outcome) -> Result<M> {
    let message = outcome.message.and_then(|any| any.downcast::<M>().ok());
    message.map(|message| *message).ok_or_else(|| {
        Status::internal("an interceptor answered the call with another type than its method's")
    })
}
