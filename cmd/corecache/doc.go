// Command corecache is the server.
//
//	corecache [corecache.conf] [--name value ...]   start
//	corecache check <dir>                           verify a data directory
//
// main.go tells in which order it is put together and taken apart; the other files hold one
// concern of the process each. Exit codes: 0 after an orderly shutdown, 1 when
// something was wrong (one line on standard error says what), 2 after the panic of a
// bug, and 130 when a second signal cut a shutdown short.
package main
