//! Which of the workspace's crates depends on which, read from `cargo metadata`, so that the
//! picture in ARCHITECTURE.md can be made again and never drifts.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace::{Workspace, output};

/// How the graph is written.
pub(crate) enum Style {
    /// `crate -> crate, crate` lines.
    Text,
    /// A Mermaid flow chart.
    Mermaid,
}

/// Crates and the workspace crates they use, dependencies of tests left out.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Prints the graph.
///
/// # Errors
/// If cargo's metadata cannot be read.
pub(crate) fn print(workspace: &Workspace, style: Style) -> Result<()> {
    let metadata = output(workspace.cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    let graph = read(&serde_json::from_str(&metadata)?)?;
    match style {
        Style::Text => print!("{}", text(&graph)),
        Style::Mermaid => print!("{}", mermaid(&graph)),
    }
    Ok(())
}

fn read(metadata: &Value) -> Result<Graph> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let name = |value: &Value| value["name"].as_str().map(str::to_owned);
    let members: BTreeSet<String> = packages.iter().filter_map(name).collect();
    let uses = |package: &Value| -> BTreeSet<String> {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        dependencies
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(name)
            .filter(|used| members.contains(used))
            .collect()
    };
    Ok(packages.iter().filter_map(|package| Some((name(package)?, uses(package)))).collect())
}

fn text(graph: &Graph) -> String {
    let line = |(name, uses): (&String, &BTreeSet<String>)| {
        if uses.is_empty() {
            return format!("{name}\n");
        }
        let uses: Vec<&str> = uses.iter().map(String::as_str).collect();
        format!("{name} -> {}\n", uses.join(", "))
    };
    graph.iter().map(line).collect()
}

fn mermaid(graph: &Graph) -> String {
    let mut chart = String::from("flowchart TD\n");
    for (name, uses) in graph {
        chart.push_str(&format!("    {name}\n"));
        for used in uses {
            chart.push_str(&format!("    {name} --> {used}\n"));
        }
    }
    chart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_dependencies_within_the_workspace_are_edges() {
        let metadata = serde_json::json!({"packages": [
            {"name": "host", "dependencies": [
                {"name": "flow", "kind": null},
                {"name": "serde", "kind": null},
                {"name": "kit", "kind": "dev"},
            ]},
            {"name": "flow", "dependencies": []},
            {"name": "kit", "dependencies": []},
        ]});
        let graph = read(&metadata).unwrap();
        assert_eq!(text(&graph), "flow\nhost -> flow\nkit\n");
        assert_eq!(
            mermaid(&graph),
            "flowchart TD\n    flow\n    host\n    host --> flow\n    kit\n"
        );
    }
}
