//! Keys from elsewhere: taken over by the stream, and by the command line.

mod stream;
