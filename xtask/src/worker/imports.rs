//! What a wasm module imports: the proof that the Worker asks nothing of its host but what
//! wasm-bindgen wraps. A clock or randomness of its own would show as `env` or `wasi`.

use anyhow::{Context, Result, bail};

/// The module that wasm-bindgen writes beside it.
const BINDINGS: &str = "./index_bg.js";

/// The imports that are none of wasm-bindgen's, as `module.name`.
///
/// # Errors
/// If it is no wasm module.
pub(super) fn foreign(wasm: &[u8]) -> Result<Vec<String>> {
    let imports = imports(wasm).context("the module cannot be read")?;
    let is_foreign = |(module, _): &&(String, String)| module != BINDINGS;
    let named = |(module, name): &(String, String)| format!("{module}.{name}");
    Ok(imports.iter().filter(is_foreign).map(named).collect())
}

/// Module and name of each import, as the binary format has them.
/// <https://webassembly.github.io/spec/core/binary/modules.html>
fn imports(wasm: &[u8]) -> Result<Vec<(String, String)>> {
    let Some(sections) = wasm.strip_prefix(b"\0asm\x01\0\0\0") else {
        bail!("it is no wasm module")
    };
    let mut reader = Reader(sections);
    while !reader.0.is_empty() {
        let kind = reader.byte()?;
        let size = reader.number()?;
        let mut section = Reader(reader.take(size)?);
        if kind == IMPORT_SECTION {
            let count = section.number()?;
            return (0..count).map(|_| section.import()).collect();
        }
    }
    Ok(Vec::new())
}

const IMPORT_SECTION: u8 = 2;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().context("it is cut off")?;
        self.0 = rest;
        Ok(*first)
    }

    /// An unsigned LEB128 number.
    fn number(&mut self) -> Result<usize> {
        let mut number = 0_usize;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        bail!("a number is too long")
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size).context("it is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn name(&mut self) -> Result<String> {
        let size = self.number()?;
        Ok(String::from_utf8_lossy(self.take(size)?).into_owned())
    }

    fn import(&mut self) -> Result<(String, String)> {
        let named = (self.name()?, self.name()?);
        match self.byte()? {
            FUNCTION => drop(self.number()?),
            TABLE => {
                self.byte()?;
                self.limits()?;
            }
            MEMORY => self.limits()?,
            GLOBAL => drop((self.byte()?, self.byte()?)),
            TAG => drop((self.byte()?, self.number()?)),
            unknown => bail!("an import of the unknown kind {unknown}"),
        }
        Ok(named)
    }

    fn limits(&mut self) -> Result<()> {
        let has_max = self.byte()? & 1 == 1;
        self.number()?;
        if has_max {
            self.number()?;
        }
        Ok(())
    }
}

const FUNCTION: u8 = 0;
const TABLE: u8 = 1;
const MEMORY: u8 = 2;
const GLOBAL: u8 = 3;
const TAG: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn module(imports: &[(&str, &str)]) -> Vec<u8> {
        let mut section = vec![u8::try_from(imports.len()).expect("few")];
        for (module, name) in imports {
            for text in [module, name] {
                section.push(u8::try_from(text.len()).expect("short"));
                section.extend(text.as_bytes());
            }
            section.extend([FUNCTION, 0]);
        }
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        // A section of types comes first: none.
        wasm.extend([1, 1, 0, IMPORT_SECTION, u8::try_from(section.len()).expect("short")]);
        wasm.extend(section);
        wasm
    }

    #[test]
    fn what_a_worker_does_not_provide_is_named() {
        let bound = ("./index_bg.js", "__wbg_fetch_1");
        assert!(foreign(&module(&[bound])).expect("read").is_empty());
        let clock = ("wasi_snapshot_preview1", "clock_time_get");
        let found = foreign(&module(&[bound, clock, ("env", "getentropy")])).expect("read");
        assert_eq!(found, ["wasi_snapshot_preview1.clock_time_get", "env.getentropy"]);
        assert!(foreign(b"no module").is_err());
        assert!(foreign(&module(&[bound])[..20]).is_err(), "cut off");
    }
}
