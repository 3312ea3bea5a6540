//! A page for `rt` and one for each of its verbs, in section 8. clap_mangen writes what follows from the definitions.

use std::time::{Duration, SystemTime};

use clap::Command;
use clap_mangen::Man;

use crate::words::{self, Example, Section};

/// The pages: file name and content.
pub fn pages(mut rt: Command) -> Vec<(String, Vec<u8>)> {
    rt = rt.subcommand_help_heading("COMMANDS").after_help("");
    rt.build();
    let mut verbs: Vec<Command> = rt.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    verbs.sort_by(|a, b| a.get_name().cmp(b.get_name()));
    let mut pages: Vec<(String, Vec<u8>)> = verbs.into_iter().map(|verb| page(verb, verb_sections)).collect();
    pages.push(page(rt, |rt, text| {
        man(rt).render_subcommands_section(text)?;
        words::RT.iter().for_each(|section| named(text, section));
        Ok(())
    }));
    pages
}

/// What stands below the sections that every page has.
type Rest = fn(&Command, &mut Vec<u8>) -> std::io::Result<()>;

fn page(command: Command, rest: Rest) -> (String, Vec<u8>) {
    let name = command.get_display_name().unwrap_or("rt").to_owned();
    let mut text = Vec::new();
    let written = common(&command, &mut text).and_then(|()| rest(&command, &mut text));
    written.expect("a vector takes everything");
    (format!("{name}.8"), tidied(&String::from_utf8_lossy(&text)).into_bytes())
}

/// clap_mangen begins each section as if it were a page, and leaves gaps that mandoc's lint doesn't like.
fn tidied(text: &str) -> String {
    const BEGIN: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
    format!("{BEGIN}{}", text.replace(BEGIN, "").replace("\n.br\n\n.br\n", "\n.sp\n"))
}

fn common(command: &Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    let man = man(command);
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    section(text, "DESCRIPTION");
    line(text, &escaped(&command.get_about().map(|about| format!("{about}.")).unwrap_or_default()));
    paragraphs(text, words::about(command.get_name()).map_or(&[], |verb| verb.text));
    man.render_options_section(text)
}

fn man(command: &Command) -> Man {
    let name = command.get_display_name().unwrap_or("rt").to_uppercase();
    let source = format!("rt {}", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).title(name).section("8").date(date()).source(source).manual("Container runtime")
}

/// Today, or the day that reproducible builds are given.
fn date() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let time = given.map_or_else(SystemTime::now, |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    rt::log::rfc3339(time).chars().take(10).collect()
}

fn verb_sections(verb: &Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    let own = words::about(verb.get_name());
    section(text, "EXIT STATUS");
    line(text, &escaped(own.map_or(words::EXIT, |verb| verb.exit)));
    if let Some(own) = own.filter(|own| !own.examples.is_empty()) {
        section(text, "EXAMPLES");
        own.examples.iter().enumerate().for_each(|(index, example)| shown(text, example, index == 0));
    }
    section(text, "SEE ALSO");
    let others = own.map_or(&[] as &[&str], |verb| verb.see);
    let list: Vec<String> = std::iter::once("rt".to_owned())
        .chain(others.iter().map(|verb| format!("rt-{verb}")))
        .map(|name| format!("\\fB{}\\fR(8)", escaped(&name)))
        .collect();
    line(text, &list.join(", "));
    Ok(())
}

fn section(text: &mut Vec<u8>, name: &str) {
    line(text, &format!(".SH \"{name}\""));
}

fn paragraphs(text: &mut Vec<u8>, paragraphs: &[&str]) {
    for paragraph in paragraphs {
        line(text, ".PP");
        line(text, &escaped(paragraph));
    }
}

/// A heading with a list of terms and what they mean.
fn named(text: &mut Vec<u8>, of: &Section) {
    section(text, of.name);
    if let Some((first, others)) = of.text.split_first() {
        line(text, &escaped(first));
        paragraphs(text, others);
    }
    for (term, meaning) in of.terms {
        line(text, ".TP");
        line(text, &format!("\\fB{}\\fR", escaped(term)));
        line(text, &escaped(meaning));
    }
}

fn shown(text: &mut Vec<u8>, example: &Example, first: bool) {
    if !first {
        line(text, ".PP");
    }
    line(text, &escaped(example.why));
    line(text, ".PP\n.RS 4\n.nf");
    line(text, &escaped(example.command));
    line(text, ".fi\n.RE");
}

fn line(text: &mut Vec<u8>, line: &str) {
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
}

/// A text that roff prints as it is: `\` and `-` have meanings, and so has a line that begins with `.` or `'`.
fn escaped(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let line = |line: &str| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() };
    escaped.lines().map(line).collect::<Vec<_>>().join("\n")
}
