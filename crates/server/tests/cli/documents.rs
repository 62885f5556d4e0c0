//! Checks every command that a document shows. A command without a rule fails, so none is left out.
//!
//! A rule says how a command is checked. The program itself parses `driftlock` commands. Commands
//! that take long, or change something elsewhere, must name what exists (a package, a test, a task,
//! a variable). Other commands are run by another test: the rule names its file and a text in it.
//!
//! The lists of webhook events in the documents must equal those of the code.

use std::fs;
use std::path::{Path, PathBuf};

use driftlock_domain::stripe::event::EventKind;

use super::support::{commands, done, program};

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/detection.md",
    "docs/fleet.md",
    "docs/operate.md",
    "docs/redis.md",
    "docs/stripe.md",
    "docs/supabase.md",
    "docs/workers.md",
];

/// Commands that another test runs: their beginning, the test's file, and a text in that file.
const RUN_ELSEWHERE: [(&str, &str, &str); 14] = [
    ("pg_dump ", "e2e/tests/fleet/backup.rs", "\"pg_dump\""),
    ("pg_restore ", "e2e/tests/fleet/backup.rs", "\"pg_dump\""),
    ("mkdir -p supabase/migrations", "e2e/tests/fleet/documents.rs", "supabase db push"),
    ("for file in migrations/", "e2e/tests/fleet/documents.rs", "supabase db push"),
    ("cp \"$file\" ", "e2e/tests/fleet/documents.rs", "supabase db push"),
    ("done", "e2e/tests/fleet/documents.rs", "supabase db push"),
    ("supabase db push", "e2e/tests/fleet/documents.rs", "supabase db push"),
    ("sqlite3 ", "crates/server/tests/cli/operate.rs", "docs/operate.md"),
    ("npm install", "xtask/src/worker.rs", "npm"),
    ("npx wrangler dev", "crates/worker/test/wrangler.test.mjs", "startWrangler"),
    ("npx wrangler deploy --dry-run", "crates/worker/test/wrangler.test.mjs", "--dry-run"),
    ("openssl rand ", "crates/server/tests/cli/readme.rs", "README.md"),
    ("cargo fmt", "xtask/src/test.rs", "fmt"),
    ("stripe trigger", "crates/server/tests/cli/stripe.rs", "docs/stripe.md"),
];

/// Subcommands of wrangler that change an account. Checked are the subcommand's name, and that
/// `wrangler.toml` has the environment.
const WRANGLER: [&str; 6] =
    ["secret put ", "deploy", "tail", "rollback", "d1 create ", "d1 migrations "];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The commands of a document, in blocks and between backticks in its text.
fn shown(document: &str) -> Vec<String> {
    let text = read(document);
    let mut shown = commands(&text);
    let mut within = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            within = !within;
        } else if !within {
            let spans = line.split('`').skip(1).step_by(2);
            shown.extend(spans.filter(|span| is_command(span)).map(str::to_owned));
        }
    }
    shown
}

/// Whether text between backticks begins with a program and an argument.
fn is_command(text: &str) -> bool {
    const PROGRAMS: [&str; 10] = [
        "driftlock",
        "cargo",
        "npx",
        "npm",
        "sqlite3",
        "openssl",
        "supabase",
        "pg_dump",
        "curl",
        "stripe",
    ];
    text.split_once(' ').is_some_and(|(program, _)| PROGRAMS.contains(&program))
}

#[test]
fn every_command_of_every_document_has_a_rule() {
    let mut checked = 0;
    for document in DOCUMENTS {
        for command in shown(document) {
            if let Err(problem) = check(&command) {
                panic!("{document}: `{command}`: {problem}");
            }
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} commands were found");
}

/// The event types that a document tells the reader to select, in the document's order.
fn webhook_events(document: &str) -> Vec<String> {
    let text = read(document);
    let (_, rest) = text.split_once("select these events:\n\n").expect("a list of webhook events");
    let list = rest.split("\n\n").next().unwrap_or_default();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn documents_list_the_webhook_events_that_the_code_handles() {
    let mut handled: Vec<&str> = EventKind::HANDLED.iter().map(EventKind::as_str).collect();
    handled.sort_unstable();
    for document in ["docs/stripe.md", "docs/workers.md"] {
        let mut listed = webhook_events(document);
        listed.sort_unstable();
        assert_eq!(listed, handled, "{document}");
    }
}

/// The rules do refuse commands.
#[test]
fn commands_that_name_what_does_not_exist_are_refused() {
    for wrong in [
        "cargo build --release --package driftlock-server",
        "cargo install --path crates/gateway",
        "cargo install --path nowhere",
        "cargo test -p driftlock-e2e --test nothing",
        "cargo test --workspace --test nothing -- --nocapture",
        "cargo run --release -p driftlock-e2e --example nothing",
        "cargo run --relase -- dev",
        "cargo xtask nothing",
        "cargo xtask test --fast",
        "driftlock org make Acme",
        "driftlock serve --port 80",
        "export ENV_NOTHING=1",
        "npx wrangler secret put ENV_ADMIN_TOKEN --env nowhere",
        "npx wrangler publish",
        "rm -rf data",
    ] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
}

fn check(command: &str) -> Result<(), String> {
    let command = command.trim_end_matches(" &").trim();
    if command.starts_with('#') {
        return Ok(());
    }
    if let Some(assigned) = command.strip_prefix("export ") {
        return variable(assigned.split('=').next().unwrap_or_default());
    }
    // A variable before a command.
    if let Some((assigned, rest)) = command.split_once(' ')
        && let Some((name, _)) = assigned.split_once('=')
        && name.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
    {
        variable(name)?;
        return check(rest);
    }
    let words = words(command);
    match &words[..] {
        ["driftlock", arguments @ ..] => parsed(arguments),
        ["cargo", "xtask", task, rest @ ..] => self::task(task, rest),
        ["cargo", "+nightly", "fuzz", rest @ ..] => fuzz(rest),
        ["cargo", "install", rest @ ..] => installed(rest),
        ["cargo", "build" | "test" | "run", rest @ ..] => built(rest),
        ["cp", ".dev.vars.example", ".dev.vars"] => exists(".dev.vars.example"),
        ["npx", "wrangler", rest @ ..] if !is_run_elsewhere(command) => wrangler(&rest.join(" ")),
        _ => run_elsewhere(command),
    }
}

/// The words of a command, as a shell splits them: text in double quotes is one word.
fn words(command: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (place, part) in command.split('"').enumerate() {
        if place % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words
}

/// Checks with the program: it parses all arguments, and shows its help instead of running.
fn parsed(arguments: &[&str]) -> Result<(), String> {
    // `…` stands for more arguments.
    let named = arguments.iter().filter(|argument| **argument != "…");
    let mut command = program(&root(), &[]);
    let outcome = done(command.args(named).arg("--help"));
    if outcome.success { Ok(()) } else { Err(outcome.err) }
}

/// Checks that the project reads this variable.
fn variable(name: &str) -> Result<(), String> {
    const READ_IN: [&str; 4] = [
        "crates/server/src/host/environment.rs",
        "crates/worker/src/isolate.rs",
        "e2e/tests/fleet/outage.rs",
        "docs/fleet.md",
    ];
    let known = READ_IN.iter().any(|path| read(path).contains(name));
    if known { Ok(()) } else { Err(format!("nothing reads {name}")) }
}

fn exists(path: &str) -> Result<(), String> {
    if root().join(path).exists() { Ok(()) } else { Err(format!("there is no {path}")) }
}

/// Checks a task of xtask and its flags against the declaration of its command line.
fn task(name: &str, rest: &[&str]) -> Result<(), String> {
    let source = read("xtask/src/main.rs");
    let variant: String =
        name.split('-').map(|part| part[..1].to_uppercase() + &part[1..]).collect();
    let is_variant = |line: &str| {
        let line = line.trim();
        line.strip_prefix(&variant).is_some_and(|rest| rest.starts_with(['(', ',']))
    };
    if !source.lines().any(is_variant) {
        return Err(format!("xtask has no task {name}"));
    }
    for flag in rest.iter().filter_map(|word| word.strip_prefix("--")) {
        let field = flag.replace('-', "_") + ": ";
        if !source.lines().any(|line| line.trim().starts_with(&field)) {
            return Err(format!("xtask has no flag --{flag}"));
        }
    }
    Ok(())
}

/// `cargo fuzz` with a target of the project; `<target>` stands for any.
fn fuzz(rest: &[&str]) -> Result<(), String> {
    match rest {
        ["run" | "tmin" | "cmin", target, ..] if target.starts_with('<') => Ok(()),
        ["run" | "tmin" | "cmin", target, ..] => exists(&format!("fuzz/fuzz_targets/{target}.rs")),
        _ => Err("not a known command of cargo fuzz".to_owned()),
    }
}

/// `cargo install --path FOLDER` of the package with the program `driftlock`.
fn installed(rest: &[&str]) -> Result<(), String> {
    let path = following(rest, "--path").ok_or("it names no --path")?;
    let manifest = root().join(path).join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).map_err(|error| format!("{path}: {error}"))?;
    let is_program = manifest.lines().any(|line| line == "name = \"driftlock\"");
    if !is_program || !root().join(path).join("src/main.rs").is_file() {
        return Err(format!("{path} does not install `driftlock`"));
    }
    known_flags(rest, &["--path", "--locked", "--profile", "--root"])
}

/// `cargo build`, `test` or `run` of existing packages, tests and examples.
fn built(rest: &[&str]) -> Result<(), String> {
    let own: Vec<&str> = rest.iter().copied().take_while(|word| *word != "--").collect();
    let flags = ["--release", "--workspace", "-p", "--package", "--test", "--example", "--profile"];
    known_flags(&own, &flags)?;
    let package = following(&own, "-p").or_else(|| following(&own, "--package"));
    let folders = packages();
    let folders: Vec<&PathBuf> = match package {
        None => folders.iter().map(|(_, folder)| folder).collect(),
        Some(package) => {
            let found = folders.iter().find(|(name, _)| name == package);
            vec![found.map(|(_, folder)| folder).ok_or(format!("there is no package {package}"))?]
        }
    };
    for (flag, kind) in [("--test", "tests"), ("--example", "examples")] {
        let Some(target) = following(&own, flag) else { continue };
        let is_there = |folder: &&PathBuf| {
            let file = folder.join(kind).join(format!("{target}.rs"));
            file.is_file() || folder.join(kind).join(target).join("main.rs").is_file()
        };
        if !folders.iter().any(is_there) {
            return Err(format!("there is no {flag} {target}"));
        }
    }
    Ok(())
}

fn known_flags(words: &[&str], known: &[&str]) -> Result<(), String> {
    let unknown = words.iter().find(|word| word.starts_with('-') && !known.contains(word));
    unknown.map_or(Ok(()), |flag| Err(format!("this test does not know the flag {flag}")))
}

/// The word after a flag.
fn following<'a>(words: &[&'a str], flag: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == flag)?;
    words.get(at + 1).copied()
}

/// The workspace's packages and their folders.
fn packages() -> Vec<(String, PathBuf)> {
    let crates = fs::read_dir(root().join("crates")).expect("the crates");
    let mut folders: Vec<PathBuf> = crates.flatten().map(|entry| entry.path()).collect();
    folders.extend(["e2e", "xtask"].map(|folder| root().join(folder)));
    let package = |folder: PathBuf| {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = \""))?;
        Some((name.trim_end_matches('"').to_owned(), folder))
    };
    folders.into_iter().filter_map(package).collect()
}

fn wrangler(command: &str) -> Result<(), String> {
    if !WRANGLER.iter().any(|known| command.starts_with(known)) {
        return Err("this test does not know the subcommand of wrangler".to_owned());
    }
    let words: Vec<&str> = command.split_whitespace().collect();
    if let Some(environment) = following(&words, "--env")
        && !read("wrangler.toml").contains(&format!("[env.{environment}]"))
    {
        return Err(format!("wrangler.toml has no environment {environment}"));
    }
    match words[..] {
        ["secret", "put", name, ..] if name != "NAME" => variable(name),
        _ => Ok(()),
    }
}

fn is_run_elsewhere(command: &str) -> bool {
    RUN_ELSEWHERE.iter().any(|(beginning, ..)| command.starts_with(beginning))
}

fn run_elsewhere(command: &str) -> Result<(), String> {
    let rule = RUN_ELSEWHERE.iter().find(|(beginning, ..)| command.starts_with(beginning));
    let (_, file, text) = rule.ok_or("no rule of this test knows the command")?;
    if read(file).contains(text) { Ok(()) } else { Err(format!("{file} does not run it")) }
}
