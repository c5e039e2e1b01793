//! The service `Front`, whose handler is a closure: what one test needs of it.

use std::future::Future;

use micro_runtime::{Context, Error, Result, Server};

/// The generated code.
pub mod v1 {
    micro_runtime::include_proto!("e2e.v1");
}

use v1::{Answer, FrontHandler, Question};

/// One closure behind both methods.
#[derive(Clone, Copy, Debug)]
struct Closure<F>(F);

impl<F, Fut> FrontHandler for Closure<F>
where
    F: Fn(Context, Question) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer>> + Send,
{
    async fn ask(&self, ctx: Context, question: Question) -> Result<Answer> {
        (self.0)(ctx, question).await
    }

    async fn look(&self, ctx: Context, question: Question) -> Result<Answer> {
        (self.0)(ctx, question).await
    }
}

/// Adds `Front` to a server; both of its methods run this closure.
///
/// # Errors
/// The server has it already.
pub fn register<F, Fut>(server: &Server, handler: F) -> std::result::Result<(), Error>
where
    F: Fn(Context, Question) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer>> + Send + 'static,
{
    v1::register_front_handler(server, Closure(handler))
}

/// A question of this text.
#[must_use]
pub fn question(text: impl Into<String>) -> Question {
    Question {
        text: text.into(),
        ..Question::default()
    }
}

/// An answer of this text.
#[must_use]
pub fn answer(text: impl Into<String>) -> Answer {
    Answer {
        text: text.into(),
        ..Answer::default()
    }
}
