//! Tokens in a row: the text of all of them in one string.

use std::fmt::Write as _;
use std::ops::Range;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// What kind of token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Literal,
    /// Whether the next one belongs to it.
    Punct {
        joint: bool,
    },
    Open,
    Close,
    /// A comment of an item, as a line: `/// text`.
    Doc,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: Range<usize>,
}

/// The tokens of a file.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) source: String,
    pub(crate) all: Vec<Token>,
}

// ===== impl Tokens =====

impl Tokens {
    /// Takes a stream apart; `None` if it has invisible groups.
    pub(crate) fn new(stream: TokenStream) -> Option<Tokens> {
        let mut tokens = Tokens::default();
        tokens.add(stream).then_some(tokens)
    }

    fn add(&mut self, stream: TokenStream) -> bool {
        for tree in stream {
            match tree {
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::None => return false,
                    };
                    self.push(Kind::Open, &open);
                    if !self.add(group.stream()) {
                        return false;
                    }
                    self.push(Kind::Close, &close);
                    self.comment();
                }
                TokenTree::Ident(word) => self.push(Kind::Word, &word),
                TokenTree::Literal(literal) => self.push(Kind::Literal, &literal),
                TokenTree::Punct(punct) => {
                    let joint = punct.spacing() == Spacing::Joint;
                    self.push(Kind::Punct { joint }, &punct.as_char());
                }
            }
        }
        true
    }

    fn push(&mut self, kind: Kind, text: &dyn std::fmt::Display) {
        let start = self.source.len();
        // Writing to a string cannot fail.
        let _ = write!(self.source, "{text}");
        self.all.push(Token {
            kind,
            text: start..self.source.len(),
        });
    }

    /// Makes a line of a comment out of the attribute that it has come as, if it is one line.
    fn comment(&mut self) {
        const ATTRIBUTE: [&str; 6] = ["#", "[", "doc", "=", "", "]"];
        let Some(start) = self.all.len().checked_sub(ATTRIBUTE.len()) else {
            return;
        };
        let (_, last) = self.all.split_at(start);
        let is_doc = last.iter().zip(ATTRIBUTE).all(|(token, expected)| {
            let text = self.source.get(token.text.clone()).unwrap_or_default();
            text == expected || (expected.is_empty() && token.kind == Kind::Literal)
        });
        let literal = last
            .get(4)
            .and_then(|token| self.source.get(token.text.clone()));
        let Some(text) = literal.filter(|_| is_doc).and_then(unescape) else {
            return;
        };
        // What would not be a comment, or another one.
        if text.contains(['\n', '\r']) || text.starts_with('/') {
            return;
        }
        self.all.truncate(start);
        self.push(
            Kind::Doc,
            &format_args!("///{}", text.trim_end_matches(' ')),
        );
    }

    /// The source of some tokens.
    pub(crate) fn text(&self, range: Range<usize>) -> String {
        let mut text = String::new();
        for token in self.all.get(range).unwrap_or_default() {
            text.push_str(self.source.get(token.text.clone()).unwrap_or_default());
            match token.kind {
                Kind::Doc => text.push('\n'),
                Kind::Punct { joint: true } => {}
                _ => text.push(' '),
            }
        }
        text
    }
}

/// The value of a string literal; `None` if it is none, or has escapes that comments do not need.
fn unescape(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix("r\"") {
        return raw.strip_suffix('"').map(str::to_owned);
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next()? {
                't' => '\t',
                same @ ('\\' | '"' | '\'') => same,
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}
