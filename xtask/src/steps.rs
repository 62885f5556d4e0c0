//! A list of steps that all run, however many fail, with one line each and a closing count.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The steps run so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    failure: Option<String>,
}

impl Steps {
    /// Runs one step and prints its line; a failure is kept for the end.
    pub(crate) fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        println!("==== {name}");
        let began = Instant::now();
        let failure = step().err().map(|error| format!("{error:#}"));
        let step = Step { name, took: began.elapsed(), failure };
        println!("{}", step.line());
        self.done.push(step);
    }

    /// Prints every step's line again and the closing count.
    ///
    /// # Errors
    /// If a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n==== summary");
        for step in &self.done {
            println!("{}", step.line());
        }
        let failed = self.done.iter().filter(|step| step.failure.is_some()).count();
        println!("{} passed, {failed} failed", self.done.len() - failed);
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.done.len());
        }
        Ok(())
    }
}

impl Step {
    fn line(&self) -> String {
        let seconds = self.took.as_secs_f64();
        match &self.failure {
            None => format!("ok      {:<14} {seconds:>7.1} s", self.name),
            Some(failure) => format!("FAILED  {:<14} {seconds:>7.1} s  {failure}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_does_not_keep_the_next_from_running_but_fails_the_whole() {
        let mut steps = Steps::default();
        let mut ran = false;
        steps.run("first", || bail!("broken"));
        steps.run("second", || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert_eq!(steps.finish().unwrap_err().to_string(), "1 of 2 steps failed");
    }
}
