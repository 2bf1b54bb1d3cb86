//! Compiles `proto/` to Rust and to a descriptor set. Reads nothing but that directory; runs no other program.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script by the environment where to read and write")]

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");

    let proto_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new([&proto_dir])?;
    compiler.include_imports(true);
    compiler.include_source_info(true);
    compiler.open_files(proto_files(&proto_dir)?)?;

    // The encoded form keeps options that `prost_types` does not know, such as `google.api.http`.
    fs::write(out_dir.join("keyward.bin"), compiler.encode_file_descriptor_set())?;

    let secret_messages = secret_messages(&compiler.descriptor_pool());
    fs::write(out_dir.join("keyward.debug.rs"), debug_impls(&secret_messages)?)?;

    tonic_prost_build::configure()
        // In order of keys, so that equal messages encode to equal bytes.
        .btree_map(".keyward.v1")
        .skip_debug(secret_messages.iter().map(|message| format!(".{}", message.full_name())))
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Every `.proto` file below a directory, in one order everywhere.
fn proto_files(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The messages with a `debug_redact` field; a derived `Debug` would print it into a log.
fn secret_messages(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    pool.all_messages().filter(|message| message.fields().any(|field| is_secret(&field))).collect()
}

fn is_secret(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

/// A `Debug` for each message of secrets, and for each oneof in it, that prints the type's name only.
fn debug_impls(messages: &[MessageDescriptor]) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    for message in messages {
        let mut path: Vec<String> = message.package_name().split('.').map(module_name).collect();
        let mut parents = Vec::new();
        let mut parent = message.parent_message();
        while let Some(outer) = parent {
            parents.push(module_name(outer.name()));
            parent = outer.parent_message();
        }
        path.extend(parents.into_iter().rev());
        let path = path.join("::");
        debug_impl(&mut code, &path, message.name())?;
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            debug_impl(&mut code, &format!("{path}::{}", module_name(message.name())), &type_name(oneof.name()))?;
        }
    }
    Ok(code)
}

fn debug_impl(code: &mut String, path: &str, name: &str) -> std::fmt::Result {
    writeln!(
        code,
        "impl ::core::fmt::Debug for {path}::{name} {{\n    \
         fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        \
         f.debug_struct(\"{name}\").finish_non_exhaustive()\n    }}\n}}"
    )
}

/// The module that prost makes of a package segment or message name.
fn module_name(name: &str) -> String {
    let mut module = String::new();
    for (index, character) in name.char_indices() {
        if character.is_ascii_uppercase() && index > 0 {
            module.push('_');
        }
        module.push(character.to_ascii_lowercase());
    }
    if module == "type" { "r#type".to_owned() } else { module }
}

/// The type that prost makes of a oneof's name.
fn type_name(name: &str) -> String {
    let capitalized = |word: &str| {
        let mut characters = word.chars();
        characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect::<String>()
    };
    name.split('_').map(capitalized).collect()
}
