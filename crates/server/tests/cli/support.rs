//! Runs the program, and servers that stop with the test.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_driftlock");
const PATIENCE: Duration = Duration::from_secs(30);

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) success: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program in this folder, without the caller's environment.
pub(crate) fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn done(command: &mut Command) -> Done {
    let output = command.output().expect("it runs");
    Done {
        success: output.status.success(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// A server process that stops with the test.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `command` with its output in the file `log`, waits until the log contains `sign`, and
/// returns the log's text.
pub(crate) fn start(command: &mut Command, log: &Path, sign: &str) -> (Server, String) {
    let file = File::create(log).expect("a log");
    command.stdout(file.try_clone().expect("a second handle")).stderr(file);
    let mut server = Server(command.spawn().expect("it starts"));
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(log).expect("the log");
        if text.contains(sign) {
            return (server, text);
        }
        let ended = server.0.try_wait().expect("it can be asked");
        assert!(ended.is_none(), "it ended ({ended:?}): {text}");
        assert!(began.elapsed() < PATIENCE, "no {sign:?} in: {text}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Starts `driftlock dev` on free ports with data in `folder/.driftlock`. Returns address and
/// output.
pub(crate) fn dev(folder: &Path) -> (Server, String, String) {
    let (gateway, backend, admin) = (free_address(), free_address(), free_address());
    let listen = ["dev", "--listen", &gateway, "--backend-listen", &backend];
    let mut command = program(folder, &listen);
    command.args(["--admin-listen", &admin]);
    let (server, greeting) = start(&mut command, &folder.join("dev.log"), "Ctrl-C stops");
    (server, format!("http://{gateway}"), greeting)
}

/// The commands in a document's `sh` blocks.
pub(crate) fn commands(document: &str) -> Vec<String> {
    let mut within = false;
    let mut commands = Vec::new();
    for line in document.lines().map(str::trim) {
        match line {
            "```sh" => within = true,
            "```" => within = false,
            line if within => {
                let command = line.split("  #").next().unwrap_or_default().trim();
                commands.push(command.to_owned());
            }
            _ => {}
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// A command line for `sh` in this folder, with `driftlock` on the path.
pub(crate) fn shell(folder: &Path, environment: &HashMap<String, String>, line: &str) -> Command {
    let bin = Path::new(PROGRAM).parent().expect("a folder").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder).env_clear();
    command.envs(environment).env("PATH", format!("{bin}:{path}"));
    command
}
