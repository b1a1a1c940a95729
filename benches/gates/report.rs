//! What was measured, beside what was recorded.

use std::fs;
use std::process::{Command, ExitCode};

use logux_benches::limits::{Goal, Limits, Verdict};

use crate::counts::{COUNTED, Counted, INSTRUCTIONS, PerEvent, profile};
use crate::workloads::WORKLOADS;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gates/limits");

/// What may not be given up once it is reached, whatever was recorded: a workload, what is counted, and how
/// much of that there may be per event.
const GOALS: [(&str, &str, f64); 4] = [
    ("send/json/websocket", "system-calls", 0.05),
    ("send/json/websocket", "allocations", 0.1),
    ("send/message-pack/websocket", "system-calls", 0.05),
    ("send/message-pack/websocket", "allocations", 0.1),
];

type Measured = [(&'static str, PerEvent)];

/// Prints a table; fails where something is worse than it was recorded.
pub(crate) fn compare(measured: &Measured) -> Result<ExitCode, String> {
    let (limits, recorded_with) = read()?;
    let with = tools();
    let is_same_tools = with == recorded_with;
    let (mut red, mut better) = (Vec::new(), 0);
    println!(
        "{:34}{:16} {:>12} {:>12} {:>8}  verdict",
        "workload", "per event", "recorded", "measured", "change"
    );
    for (workload, counted, value) in values(measured) {
        let recorded = limits.of(workload, counted.name);
        let goal = goal(workload, counted);
        let verdict = if goal.is_some_and(|goal| goal.is_given_up(recorded, value)) {
            Verdict::Worse
        } else {
            limits.judge(workload, counted.name, value, counted.tolerance)
        };
        // Another compiler makes other instructions of the same source: that is told, and nothing is to be mended.
        let is_judged =
            is_same_tools || counted.name != INSTRUCTIONS || verdict == Verdict::Unknown;
        let is_red = is_judged && matches!(verdict, Verdict::Worse | Verdict::Unknown);
        better += usize::from(verdict == Verdict::Better);
        let word = match verdict {
            Verdict::Worse if !is_judged => "more, by another compiler",
            Verdict::Worse => "WORSE",
            Verdict::Unknown => "NOT RECORDED",
            Verdict::Better => "better",
            Verdict::Holds => "",
        };
        if recorded == Some(0.0) && verdict == Verdict::Holds {
            continue;
        }
        let change = recorded.map_or(String::new(), |recorded| change(recorded, value));
        let recorded = recorded.map_or("-".to_owned(), |recorded| format!("{recorded:.4}"));
        let goal = goal.map_or(String::new(), |goal| told(goal, value));
        let line = format!(
            "{workload:34}{:16} {recorded:>12} {value:>12.4} {change:>8}  {word:6} {goal}",
            counted.name
        );
        println!("{}", line.trim_end());
        if is_red {
            red.push((workload, line));
        }
    }
    let gone: Vec<_> = limits.workloads().into_iter().filter(|name| !is_known(name)).collect();
    if better > 0 {
        println!(
            "\n{better} values are lower than recorded: `benches/gates/run --update` keeps what was gained."
        );
    }
    if !is_same_tools {
        println!(
            "\nRecorded with {recorded_with};\nthis is      {with}.\nSo instructions are told and not judged: \
             `benches/gates/run --update` records them anew."
        );
    }
    if red.is_empty() && gone.is_empty() {
        println!("\nNo workload costs more than was recorded.");
        return Ok(ExitCode::SUCCESS);
    }
    println!();
    for (_, line) in &red {
        println!("{}", line.trim_end());
    }
    for name in gone {
        println!("{name:34}recorded, but there is no such workload");
    }
    if let Some((workload, _)) = red.first() {
        println!("\nWhere it is spent: callgrind_annotate {}", profile(workload).display());
    }
    println!(
        "\nThe gate is red. If the cost is not meant, take it back. If it is, record it by \
         `benches/gates/run --update`,\nand say in the commit what it buys."
    );
    Ok(ExitCode::FAILURE)
}

/// Records what was measured in the place of what was recorded.
pub(crate) fn update(measured: &Measured) -> Result<ExitCode, String> {
    let mut limits = if fs::exists(FILE).unwrap_or(false) { read()?.0 } else { Limits::default() };
    for (workload, counted, value) in values(measured) {
        let recorded = limits.of(workload, counted.name);
        if let Some(goal) = goal(workload, counted)
            && goal.is_given_up(recorded, value)
        {
            return Err(format!(
                "{workload}: {} per event are {value}. The goal of at most {} was reached, and is not given \
                 up by --update: take back what costs that.",
                counted.name, goal.at_most
            ));
        }
        limits.record(workload, counted.name, value);
    }
    limits.retain(is_known);
    let text = format!(
        "# What an event costs: `benches/gates/run` compares with it, `benches/gates/run --update` records it.\n\
         # {}\n{limits}",
        tools()
    );
    fs::write(FILE, text).map_err(|error| format!("{FILE}: {error}"))?;
    println!("recorded in {FILE}");
    Ok(ExitCode::SUCCESS)
}

/// What was recorded, and with which tools.
fn read() -> Result<(Limits, String), String> {
    let text = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
    let tools = text.lines().nth(1).unwrap_or_default().trim_start_matches("# ").to_owned();
    Ok((Limits::parse(&text)?, tools))
}

fn values(measured: &Measured) -> impl Iterator<Item = (&'static str, &'static Counted, f64)> {
    measured.iter().flat_map(|&(workload, per_event)| {
        COUNTED.iter().zip(per_event).map(move |(counted, value)| (workload, counted, value))
    })
}

fn goal(workload: &str, counted: &Counted) -> Option<Goal> {
    let mut goals = GOALS.iter().filter(|goal| (goal.0, goal.1) == (workload, counted.name));
    let noise = counted.tolerance.per_event;
    goals.next().map(|goal| Goal { at_most: goal.2, noise })
}

fn told(goal: Goal, value: f64) -> String {
    let word = if goal.is_reached(value) { "" } else { ", not reached" };
    format!("goal: at most {}{word}", goal.at_most)
}

fn is_known(name: &str) -> bool {
    WORKLOADS.iter().any(|workload| workload.name == name)
}

fn change(recorded: f64, value: f64) -> String {
    if recorded == 0.0 {
        String::new()
    } else {
        format!("{:+.1} %", 100.0 * (value / recorded - 1.0))
    }
}

/// What instructions depend on, besides the source.
fn tools() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_else(|_| format!("an unknown {program}"))
    };
    format!("{}, {}, {}", version("rustc"), version("valgrind"), std::env::consts::ARCH)
}
