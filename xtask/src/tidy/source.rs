//! Words that must not stand in any source file, and words that must not stand outside tests.

use std::path::Path;

/// A word, and why it must not be there.
pub(super) type Rule = (&'static str, &'static str);

// Put together, so that this file does not break its own rules.
const NOWHERE: &[Rule] = &[
    (concat!("to", "do!"), "finish it, or leave it out"),
    (concat!("unimplemen", "ted!"), "finish it, or leave it out"),
    (concat!("#[ig", "nore"), "a test that does not run proves nothing"),
];

const OUTSIDE_TESTS: &[Rule] =
    &[(concat!(".unw", "rap()"), "`expect` why it cannot fail, or answer an error")];

/// Crates that exist for tests only.
const TEST_CRATES: &[&str] = &["e2e", "crates/testkit"];

/// What is wrong with one file.
pub(super) fn breaches(path: &Path, text: &str) -> Vec<String> {
    let mut found = scan(path, text, NOWHERE);
    if !is_test(path) {
        found.extend(scan(path, &without_tests(text), OUTSIDE_TESTS));
    }
    found
}

/// Every line of code that holds one of the words; comments do not count.
pub(super) fn scan(path: &Path, text: &str, rules: &[Rule]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (word, why) in rules.iter().filter(|(word, _)| holds(code, word)) {
            found.push(format!("{}:{}: `{word}`: {why}", path.display(), index + 1));
        }
    }
    found
}

/// Whether `word` stands in `code` and is not merely the end of a longer name.
fn holds(code: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let opens_with_name = word.starts_with(part_of_name);
    code.match_indices(word).any(|(at, _)| {
        let before = code.get(..at).unwrap_or_default();
        !(opens_with_name && before.ends_with(part_of_name))
    })
}

/// What ships: every item but those under `#[cfg(test)]`, whose lines are left empty. Such an item
/// ends with the line that closes it at its own indentation, or with its one line.
fn without_tests(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with(TEST_ITEM) {
            let indent = indent(line);
            kept.push('\n');
            for skipped in lines.by_ref() {
                kept.push('\n');
                let code = skipped.trim();
                let is_attribute = code.starts_with("#[") && code.ends_with(']');
                let at_its_indent = self::indent(skipped) == indent && !code.is_empty();
                let closes = code.starts_with('}') || code.ends_with([';', '}', ',']);
                if at_its_indent && closes && !is_attribute {
                    break;
                }
            }
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

const TEST_ITEM: &str = "#[cfg(test)]";

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_test(path: &Path) -> bool {
    TEST_CRATES.iter().any(|name| path.starts_with(name))
        || path
            .components()
            .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches")
        || path.file_name().is_some_and(|name| name == "tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> usize {
        breaches(Path::new(path), text).len()
    }

    #[test]
    fn unfinished_code_is_found_everywhere_but_in_comments() {
        let unfinished = concat!("fn f() { to", "do!() }");
        assert_eq!(lines("crates/a/src/lib.rs", unfinished), 1);
        assert_eq!(lines("crates/a/tests/api.rs", unfinished), 1);
        assert_eq!(lines("crates/a/src/lib.rs", &format!("// {unfinished}")), 0);
    }

    #[test]
    fn unwrapping_is_for_tests() {
        let call = concat!("x.unw", "rap();");
        assert_eq!(lines("crates/a/src/lib.rs", call), 1);
        assert_eq!(lines("crates/a/src/lib.rs", &format!("#[cfg(test)]\n{call}")), 0);
        assert_eq!(lines("crates/testkit/src/lib.rs", call), 0);
        assert_eq!(lines("crates/a/src/cell/tests.rs", call), 0);
    }

    #[test]
    fn a_test_item_hides_itself_alone() {
        let call = concat!("x.unw", "rap();");
        let found = |text: &str| breaches(Path::new("crates/a/src/lib.rs"), text);
        for (item, shown) in [
            ("#[cfg(test)]\nmod tests;\n", true),
            ("#[cfg(test)]\nuse a::b;\n", true),
            ("#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests {\n    #[test]\n    fn f() {\n", false),
        ] {
            let text = format!("{item}fn g() {{ {call} }}\n");
            assert_eq!(found(&text).len(), usize::from(shown), "{text}");
        }
        let inside = format!(
            "#[cfg(test)]\nmod tests {{\n    fn f() {{\n        {call}\n    }}\n}}\nfn g() {{\n    {call}\n}}\n"
        );
        let found = found(&inside);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(":8:"), "{found:?}");
    }

    #[test]
    fn a_word_within_a_longer_name_does_not_count() {
        let rules: &[Rule] = &[("rand::", "entropy is an argument")];
        assert_eq!(scan(Path::new("a.rs"), "use operand::Kind;", rules).len(), 0);
        assert_eq!(scan(Path::new("a.rs"), "use rand::random;", rules).len(), 1);
    }
}
