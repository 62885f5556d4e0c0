//! Tests of the program from a user's view: its output, its errors and their messages.

mod check;
mod check_serve;
mod dev;
mod documents;
mod operate;
mod postgres;
mod readme;
mod refusals;
mod stripe;
mod support;
