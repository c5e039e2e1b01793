//! Path templates, as `google/api/http.proto` has them.
//!
//! ```text
//! Template  = "/" [ Segments ] [ Verb ] ;
//! Segments  = Segment { "/" Segment } ;
//! Segment   = "*" | "**" | LITERAL | Variable ;
//! Variable  = "{" FieldPath [ "=" Segments ] "}" ;
//! FieldPath = IDENT { "." IDENT } ;
//! Verb      = ":" LITERAL ;
//! ```

/// Checks a template, and gives the field paths of its variables.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn variables(template: &str) -> Result<Vec<&str>, String> {
    let Some(rest) = template.strip_prefix('/') else {
        return Err("it does not begin with \"/\"".to_owned());
    };
    // The verb: what follows the last colon, if that stands in the last segment and in no variable.
    let (rest, verb) = match rest.rsplit_once(':') {
        Some((segments, verb)) if !verb.contains(['/', '}']) => (segments, Some(verb)),
        _ => (rest, None),
    };
    if let Some(verb) = verb {
        literal(verb)?;
    }
    let mut variables: Vec<&str> = Vec::new();
    if rest.is_empty() && verb.is_none() {
        return Ok(variables);
    }
    let mut rest = rest;
    loop {
        let after = match rest.strip_prefix('{') {
            Some(inside) => {
                let (variable, after) = inside.split_once('}').ok_or("a \"{\" has no \"}\"")?;
                let (field, pattern) = match variable.split_once('=') {
                    Some((field, pattern)) => (field, Some(pattern)),
                    None => (variable, None),
                };
                field_path(field)?;
                if variables.contains(&field) {
                    return Err(format!("it has the variable \"{field}\" twice"));
                }
                variables.push(field);
                for each in pattern.iter().flat_map(|pattern| pattern.split('/')) {
                    segment(each)?;
                }
                after
            }
            None => {
                let end = rest.find('/').unwrap_or(rest.len());
                let (each, after) = rest.split_at(end);
                segment(each)?;
                after
            }
        };
        rest = match after.strip_prefix('/') {
            Some(next) => next,
            None if after.is_empty() => return Ok(variables),
            None => return Err(format!("\"{after}\" follows a variable; expected \"/\"")),
        };
    }
}

/// One segment that is no variable. `**` may stand anywhere: `http.proto` wants it last, and Google's own Firestore
/// has `/v1/{parent=projects/*/databases/*/documents/**}/{collection_id}`.
fn segment(text: &str) -> Result<(), String> {
    match text {
        "*" | "**" => Ok(()),
        text => literal(text),
    }
}

fn literal(text: &str) -> Result<(), String> {
    let wrong = |each: char| {
        matches!(each, '{' | '}' | '*' | '?' | '#' | '=')
            || each.is_whitespace()
            || each.is_control()
    };
    if text.is_empty() {
        return Err("it has an empty segment".to_owned());
    }
    match text.find(wrong) {
        None => Ok(()),
        Some(_) => Err(format!(
            "its segment \"{}\" is no literal",
            text.escape_debug()
        )),
    }
}

fn field_path(text: &str) -> Result<(), String> {
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .chars()
                .all(|each| each.is_ascii_alphanumeric() || each == '_')
    };
    if text.split('.').all(is_name) {
        Ok(())
    } else {
        Err(format!(
            "its variable \"{}\" names no field",
            text.escape_debug()
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn templates_of_real_apis() {
        for (template, expected) in [
            ("/", &[][..]),
            ("/v1/orders", &[]),
            ("/v1/{name}", &["name"]),
            ("/v1/{name=projects/*/orders/*}:cancel", &["name"]),
            ("/v1/{order.name=orders/**}", &["order.name"]),
            (
                "/v1beta1/{parent=*}/items/{item_id}/**",
                &["parent", "item_id"],
            ),
            ("/$discovery/rest", &[]),
            ("/v1:batchGet", &[]),
            ("/v1/{resource=**}:testIamPermissions", &["resource"]),
            ("/v1/*/x", &[]),
            (
                "/v1/{parent=projects/*/databases/**}/{collection_id}",
                &["parent", "collection_id"],
            ),
        ] {
            assert_eq!(variables(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (template, expected) in [
            ("", "it does not begin with \"/\""),
            ("v1", "it does not begin with \"/\""),
            ("/v1//a", "it has an empty segment"),
            ("/v1/", "it has an empty segment"),
            ("/v1:", "it has an empty segment"),
            (":x", "it does not begin with \"/\""),
            ("/v1/{name", "a \"{\" has no \"}\""),
            ("/v1/a}", "its segment \"a}\" is no literal"),
            ("/v1/a*", "its segment \"a*\" is no literal"),
            ("/v1/a b", "its segment \"a b\" is no literal"),
            ("/v1?x=1", "its segment \"v1?x=1\" is no literal"),
            ("/v1/{}", "its variable \"\" names no field"),
            ("/v1/{a.}", "its variable \"a.\" names no field"),
            ("/v1/{1a}", "its variable \"1a\" names no field"),
            ("/v1/{a={b}}", "its segment \"{b\" is no literal"),
            ("/v1/{a}{b}", "\"{b}\" follows a variable; expected \"/\""),
            ("/v1/{a}/{a}", "it has the variable \"a\" twice"),
        ] {
            assert_eq!(
                variables(template).err().as_deref(),
                Some(expected),
                "{template}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC*", like in "/?[a/{}=*:.]{0,12}") {
            for text in [text, like] {
                match variables(&text) {
                    Ok(_) => prop_assert!(text.starts_with('/')),
                    Err(reason) => prop_assert!(!reason.is_empty()),
                }
            }
        }
    }
}
