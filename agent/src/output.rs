//! What is printed. Who reads it may go before all of it is read (`| head`): that is no fault. What is left is dropped, and what
//! the command does goes on to its end and its exit code.

use std::fmt::Arguments;
use std::io::{ErrorKind, Result, Write};

/// To standard output.
pub fn print(text: Arguments<'_>) {
    put(std::io::stdout().lock(), text);
}

/// To standard error.
pub fn print_error(text: Arguments<'_>) {
    put(std::io::stderr().lock(), text);
}

fn put(mut to: impl Write, text: Arguments<'_>) {
    match read_or_gone(to.write_fmt(text)) {
        Ok(()) => {}
        // As std has it: a disk that is full is not to be taken for an answer that is complete.
        Err(error) => panic!("this cannot be printed: {error}"),
    }
}

fn read_or_gone(written: Result<()>) -> Result<()> {
    written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_gone_is_no_fault_and_a_full_disk_is() {
        assert!(read_or_gone(Err(ErrorKind::BrokenPipe.into())).is_ok());
        assert!(read_or_gone(Err(ErrorKind::StorageFull.into())).is_err());
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        put(writer, format_args!("nobody reads this\n"));
    }
}
