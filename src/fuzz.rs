//! How decoders of outside bytes are fuzzed: a target is a test beside its decoder, and states a property that holds for
//! all bytes there are. Its seeds are in `tests/fuzz/`, a file per target and a seed per line.
//!
//! Each run replays the seeds, and then tries as many inputs as `KEYWARD_PROOF_FUZZ` says: most are seeds that were
//! changed in a few places, some are bytes of chance. Bolero chooses, makes a failing input smaller and prints it as the
//! line to add to the file; `BOLERO_RANDOM_SEED`, which it prints as well, tries that one first.

use bolero::generator::bolero_generator::{ValueGenerator, combinator::MapGenerator};
use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many inputs a target tries if nobody says.
const EXECUTIONS: usize = 1000;

/// No input is longer: more than any decoder but those of files takes at once.
const MAX_BYTES: usize = 20_000;

/// The bytes that decoders look for, and some that they may not expect.
const SPECIAL: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"\"",
    b"'",
    b"\\",
    b"/",
    b"//",
    b"/../",
    b"/./",
    b".",
    b",",
    b";",
    b":",
    b"=",
    b"%",
    b"%2e",
    b"%2F",
    b"%25",
    b"%00",
    b"+",
    b"-",
    b"*",
    b"**",
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"?",
    b"#",
    b"@",
    b"_",
    b"~",
    b"<",
    b">",
    b"!",
    b"0",
    b"00",
    b"1",
    b"9223372036854775807",
    b"-1",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff\x0f",
    "é".as_bytes(),
    "／".as_bytes(),
    "\u{85}".as_bytes(),
    "\u{a0}".as_bytes(),
    "\u{feff}".as_bytes(),
    "ſ".as_bytes(),
    "İ".as_bytes(),
    "٣".as_bytes(),
    "\u{202e}".as_bytes(),
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"[[[[",
    b"\"\"",
    b"Bearer ",
    b"tenants/",
    b"unix:",
];

/// Runs a target: its name, seeds that the source makes, and the property.
macro_rules! fuzz {
    ($name:literal, $property:expr) => {
        $crate::fuzz::fuzz!($name, Vec::new(), $property)
    };
    ($name:literal, $made:expr, $property:expr) => {{
        let seeds = $crate::fuzz::seeds($name, $made);
        let executions = $crate::fuzz::executions();
        let check = bolero::check!().with_iterations(executions).with_generator($crate::fuzz::inputs(&seeds));
        let property = $crate::fuzz::Property::new($name, $property);
        property.replay(&seeds);
        check.for_each(|input: &$crate::fuzz::Input| property.holds(input.bytes()));
        property.tell(executions);
    }};
}
pub(crate) use fuzz;

/// What is tried; shown as it stands in a file of seeds.
#[derive(Clone)]
pub(crate) struct Input(Vec<u8>);

impl Input {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the line for its file of seeds:\n{}", self.0.escape_ascii())
    }
}

/// What holds for all bytes.
pub(crate) struct Property<P> {
    name: &'static str,
    property: P,
    count: AtomicU64,
}

impl<P: Fn(&[u8])> Property<P> {
    pub(crate) fn new(name: &'static str, property: P) -> Self {
        Self { name, property, count: AtomicU64::new(0) }
    }

    pub(crate) fn holds(&self, bytes: &[u8]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        (self.property)(bytes);
    }

    /// Every seed, always.
    pub(crate) fn replay(&self, seeds: &[Vec<u8>]) {
        for seed in seeds {
            if let Err(cause) = catch_unwind(AssertUnwindSafe(|| self.holds(seed))) {
                eprintln!("fuzz: {}: it does not hold for the seed\n{}", self.name, seed.escape_ascii());
                resume_unwind(cause);
            }
        }
    }

    pub(crate) fn tell(&self, asked: usize) {
        let count = self.count.load(Ordering::Relaxed);
        println!("fuzz: {:<24} {count:>10} executions", self.name);
        assert!(count >= asked as u64, "{}: bolero has tried {count} inputs only", self.name);
    }
}

impl<P> RefUnwindSafe for Property<P> {}

pub(crate) fn executions() -> usize {
    #[expect(clippy::disallowed_methods, reason = "how long a proof takes is said in the environment")]
    let said = std::env::var("KEYWARD_PROOF_FUZZ");
    said.ok().map_or(EXECUTIONS, |text| text.parse().expect("KEYWARD_PROOF_FUZZ must be a number"))
}

/// The seeds of a target: those that its source makes, and those of its file, which must be there.
pub(crate) fn seeds(name: &str, made: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    let mut seeds: Vec<Vec<u8>> = lines.map(|line| unescaped(line).expect("an escape that is none")).collect();
    assert!(seeds.len() >= 10, "{} has few seeds", path.display());
    seeds.extend(made);
    seeds
}

/// A line of a file as bytes: with the escapes that `escape_ascii` writes.
fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match (*byte, tail) {
            (b'\\', [b'x', high, low, tail @ ..]) => {
                rest = tail;
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            (b'\\', [letter, tail @ ..]) => {
                rest = tail;
                match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'\\' | b'\'' | b'"' => *letter,
                    _ => return None,
                }
            }
            (byte, _) => byte,
        });
    }
    Some(bytes)
}

/// Inputs made of seeds, as bolero's bytes say.
pub(crate) fn inputs(
    seeds: &[Vec<u8>],
) -> MapGenerator<impl ValueGenerator<Output = Vec<u8>> + use<>, impl Fn(Vec<u8>) -> Input + RefUnwindSafe + use<>> {
    let seeds = seeds.to_vec();
    bolero::produce::<Vec<u8>>().with().len(4_usize..64).map_gen(move |script| made(&seeds, script))
}

/// What is still to be done to an input, byte by byte; zeros without end when it is over.
struct Script(std::vec::IntoIter<u8>);

impl Script {
    fn byte(&mut self) -> usize {
        self.0.next().unwrap_or_default().into()
    }

    fn below(&mut self, count: usize) -> usize {
        (self.byte() * 256 + self.byte()) % count.max(1)
    }

    fn choose<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }

    /// A range within `length`, mostly a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        let most = if self.byte().is_multiple_of(4) { length } else { 8 };
        from..length.min(from + self.below(most + 1))
    }
}

fn made(seeds: &[Vec<u8>], script: Vec<u8>) -> Input {
    let mut script = Script(script.into_iter());
    if script.byte().is_multiple_of(16) {
        return Input(script.0.collect());
    }
    let mut bytes = script.choose(seeds).clone();
    // At least one change; those at the script's end do little.
    for _ in 0..=script.byte() % 4 {
        change(&mut bytes, seeds, &mut script);
    }
    bytes.truncate(MAX_BYTES);
    Input(bytes)
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], script: &mut Script) {
    let range = script.range(bytes.len());
    match script.byte() % 10 {
        0 | 1 => drop(bytes.splice(range, script.choose(SPECIAL).iter().copied())),
        2 => drop(bytes.splice(range.start..range.start, script.choose(SPECIAL).iter().copied())),
        3 => {
            if let Some(byte) = bytes.get_mut(range.start) {
                *byte = u8::try_from(script.byte()).unwrap();
            }
        }
        4 => {
            if let Some(byte) = bytes.get_mut(range.start) {
                *byte ^= 1 << (script.byte() % 8);
            }
        }
        5 => drop(bytes.drain(range)),
        6 => bytes.truncate(range.end),
        7 => {
            // Again and again, sometimes beyond every limit.
            let times = if script.byte().is_multiple_of(8) { script.below(3000) } else { script.below(4) };
            let times = times.min(MAX_BYTES / range.len().max(1));
            let piece = bytes[range.clone()].repeat(times);
            drop(bytes.splice(range.end..range.end, piece));
        }
        8 => {
            let other = script.choose(seeds);
            let piece = script.range(other.len());
            drop(bytes.splice(range, other[piece].iter().copied()));
        }
        _ => {
            for byte in &mut bytes[range] {
                *byte = if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            }
        }
    }
}

#[test]
fn a_line_is_the_bytes_that_were_shown() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(unescaped(&all.escape_ascii().to_string()), Some(all));
    assert_eq!(unescaped("é\\x00\\\\"), Some("é\0\\".as_bytes().to_vec()));
    assert_eq!((unescaped("\\q"), unescaped("\\x0g")), (None, None));
}
