//! Prints prost-build's code as prettyplease does, line by line.
//!
//! prost-build writes one line for each field, variant and attribute, in a handful of forms. To lay those out takes no
//! syntax tree, and for large packages trees are most of the time and memory that a run takes. Whatever has another
//! form is left to prettyplease.

use std::fmt::Write as _;

use super::layout::{self, spaces as indent, width};

/// The indentation of what is in braces.
const INDENT: usize = layout::INDENT.unsigned_abs();

/// prost-build's code, laid out, with `allow` below the comment of each item at the top; `None` if there is a line
/// that is none of those prost-build writes by itself.
pub(crate) fn print(text: &str, allow: &[&str]) -> Option<String> {
    if text.contains('\r') {
        return None;
    }
    let mut printer = Printer {
        out: String::with_capacity(text.len() + text.len() / 2),
        depth: 0,
        open: false,
        allowed: false,
    };
    for line in text.lines() {
        printer.line(line.trim_start_matches(' '), allow)?;
    }
    (printer.depth == 0 && !printer.open).then_some(printer.out)
}

struct Printer {
    out: String,
    /// How many braces are open.
    depth: usize,
    /// Whether the last line opened a brace and may be closed at once.
    open: bool,
    /// Whether the item at the top that is being printed has its `allow`.
    allowed: bool,
}

// ===== impl Printer =====

impl Printer {
    fn line(&mut self, line: &str, allow: &[&str]) -> Option<()> {
        if line == "}" {
            return self.close();
        }
        if let Some(comment) = line.strip_prefix("//") {
            // A comment that belongs to no item is dropped.
            if comment.starts_with('/') && !comment.starts_with("//") {
                self.begin_line();
                self.out.push_str(line.trim_end_matches(' '));
                self.out.push('\n');
            }
            return (!comment.starts_with('!')).then_some(());
        }
        if line.is_empty() {
            return Some(());
        }
        if self.depth == 0 && !self.allowed {
            for each in allow {
                self.attribute(each)?;
            }
            self.allowed = true;
        }
        if line.starts_with("#[") {
            return self.attribute(line);
        }
        if let Some(head) = line.strip_suffix(" {") {
            return self.open(head);
        }
        let line = line.strip_suffix(',')?;
        if let Some(field) = line.strip_prefix("pub ") {
            let (name, of) = field.split_once(": ")?;
            self.begin_line();
            self.out.push_str("pub ");
            self.out.push_str(name);
            self.out.push_str(": ");
            let before = "pub : ".len() + name.len();
            self.type_after(of, before, ",".len(), self.depth * INDENT)?;
            self.out.push_str(",\n");
            return Some(());
        }
        if let Some((pattern, body)) = line.split_once(" => ") {
            return self.arm(pattern, body);
        }
        if let Some((name, of)) = line
            .strip_suffix(')')
            .and_then(|variant| variant.split_once('('))
        {
            return self.variant(name, of);
        }
        let (name, number) = line.split_once(" = ")?;
        if !is_name(name) || number.parse::<i32>().is_err() {
            return None;
        }
        self.begin_line();
        let _ = writeln!(self.out, "{name} = {number},");
        Some(())
    }

    /// Indents the next line.
    fn begin_line(&mut self) {
        if self.open {
            self.out.push('\n');
            self.open = false;
        }
        indent(&mut self.out, self.depth * INDENT);
    }

    fn open(&mut self, head: &str) -> Option<()> {
        let named = ["pub struct ", "pub enum ", "pub mod ", "impl "];
        let name = named.iter().find_map(|start| head.strip_prefix(start));
        let is_match = matches!(head, "match self" | "match value");
        let function = head.strip_prefix("pub fn ");
        if !(is_match || name.is_some_and(is_name) || function.is_some()) {
            return None;
        }
        self.begin_line();
        let fits = head.len() + " {".len() <= width(self.depth * INDENT);
        match function {
            Some(function) if !fits => {
                // Its one parameter stands alone.
                let (name, rest) = function.split_once('(')?;
                let (parameter, result) = rest.split_once(')')?;
                let _ = writeln!(self.out, "pub fn {name}(");
                indent(&mut self.out, (self.depth + 1) * INDENT);
                // `&self` takes no comma that would be left out otherwise.
                let _ = writeln!(self.out, "{parameter},");
                indent(&mut self.out, self.depth * INDENT);
                let _ = write!(self.out, "){result}");
            }
            _ => self.out.push_str(head),
        }
        self.out.push_str(" {");
        self.depth += 1;
        self.open = true;
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        self.depth = self.depth.checked_sub(1)?;
        if self.open {
            // Nothing in it.
            self.open = false;
        } else {
            indent(&mut self.out, self.depth * INDENT);
        }
        self.out.push_str("}\n");
        if self.depth == 0 {
            self.allowed = false;
        }
        Some(())
    }

    /// An attribute: on one line, or its arguments on one each.
    fn attribute(&mut self, line: &str) -> Option<()> {
        let inner = line.strip_prefix("#[")?.strip_suffix(']')?;
        self.begin_line();
        let at = self.depth * INDENT;
        if line.len() <= width(at) || !inner.ends_with(')') {
            self.out.push_str(line);
            self.out.push('\n');
            return Some(());
        }
        let (name, arguments) = inner.strip_suffix(')')?.split_once('(')?;
        let _ = writeln!(self.out, "#[{name}(");
        let mut rest = arguments;
        while !rest.is_empty() {
            let end = argument_end(rest)?;
            let (argument, after) = rest.split_at(end);
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
            indent(&mut self.out, at + INDENT);
            self.out.push_str(argument);
            self.out
                .push_str(if rest.is_empty() { "\n" } else { ",\n" });
        }
        indent(&mut self.out, at);
        self.out.push_str(")]\n");
        Some(())
    }

    /// A member of a oneof.
    fn variant(&mut self, name: &str, of: &str) -> Option<()> {
        if !is_name(name) {
            return None;
        }
        self.begin_line();
        let at = self.depth * INDENT;
        self.out.push_str(name);
        self.out.push('(');
        if name.len() + of.len() + "(),".len() <= width(at) {
            is_type(of).then(|| self.out.push_str(of))?;
        } else {
            self.out.push('\n');
            indent(&mut self.out, at + INDENT);
            self.type_after(of, 0, 0, at + INDENT)?;
            self.out.push_str(",\n");
            indent(&mut self.out, at);
        }
        self.out.push_str("),\n");
        Some(())
    }

    /// An arm of the `match`es that give an enum's names and take them.
    fn arm(&mut self, pattern: &str, body: &str) -> Option<()> {
        let known = pattern == "_" || pattern.starts_with("Self::") || is_string(pattern);
        let wrapped = body
            .strip_prefix("Some(")
            .and_then(|inner| inner.strip_suffix(')'));
        if !known || !(wrapped.is_some() || body == "None" || is_string(body)) {
            return None;
        }
        self.begin_line();
        let at = self.depth * INDENT;
        let _ = write!(self.out, "{pattern} => ");
        if pattern.len() + " => ".len() + body.len() <= width(at) {
            self.out.push_str(body);
            self.out.push_str(",\n");
            return Some(());
        }
        self.out.push_str("{\n");
        indent(&mut self.out, at + INDENT);
        match wrapped {
            Some(inner) if body.len() > width(at + INDENT) => {
                self.out.push_str("Some(\n");
                match inner.strip_prefix("#[allow(deprecated)] ") {
                    Some(_) => return None,
                    None => indent(&mut self.out, at + 2 * INDENT),
                }
                let _ = writeln!(self.out, "{inner},");
                indent(&mut self.out, at + INDENT);
                self.out.push_str(")\n");
            }
            _ => {
                self.out.push_str(body);
                self.out.push('\n');
            }
        }
        indent(&mut self.out, at);
        self.out.push_str("}\n");
        Some(())
    }

    /// A type that has `before` columns in front of it on its line and `after` behind it: on that line, or the
    /// arguments of its path on one line each.
    fn type_after(&mut self, of: &str, before: usize, after: usize, at: usize) -> Option<()> {
        if !is_type(of) {
            return None;
        }
        let generic = of
            .strip_suffix('>')
            .and_then(|generic| generic.split_once('<'));
        let Some((path, arguments)) = generic.filter(|_| before + of.len() + after > width(at))
        else {
            self.out.push_str(of);
            return Some(());
        };
        self.out.push_str(path);
        self.out.push_str("<\n");
        let mut rest = arguments;
        while !rest.is_empty() {
            let end = type_end(rest);
            let (argument, more) = rest.split_at(end);
            rest = more.strip_prefix(", ").unwrap_or(more);
            indent(&mut self.out, at + INDENT);
            // The last comma is there only if lines are broken, and is not counted when that is decided.
            let after = usize::from(!rest.is_empty());
            self.type_after(argument, 0, after, at + INDENT)?;
            self.out.push_str(",\n");
            if end == 0 {
                return None;
            }
        }
        indent(&mut self.out, at);
        self.out.push('>');
        Some(())
    }
}

fn is_name(text: &str) -> bool {
    let name = text.strip_prefix("r#").unwrap_or(text);
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a type is made of paths alone, written as prost-build writes them.
fn is_type(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_:<>, #()".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

fn is_string(text: &str) -> bool {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner.is_some_and(is_name)
}

/// Where the first of some attribute's arguments ends; `None` if it is not as simple as prost-build's.
fn argument_end(arguments: &str) -> Option<usize> {
    let mut in_string = false;
    let mut escaped = false;
    for (index, byte) in arguments.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' if !in_string => return Some(index),
            b'(' | b'[' | b'{' if !in_string => return None,
            _ => {}
        }
    }
    (!in_string).then_some(arguments.len())
}

/// Where the first of some types ends.
fn type_end(types: &str) -> usize {
    let mut depth = 0_usize;
    for (index, byte) in types.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return index,
            _ => {}
        }
    }
    types.len()
}
