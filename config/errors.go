package config

import "errors"

var (
	// ErrHelp is returned by Parse for --help.
	ErrHelp = errors.New("config: help requested")
	// ErrVersion is returned by Parse for --version.
	ErrVersion = errors.New("config: version requested")
	// ErrNoFile is returned by Rewrite when the server was started without a file. Its text is that of Redis.
	ErrNoFile error = redisError("The server is running without a config file")

	errDuplicate = errors.New("duplicate parameter")
	errImmutable = errors.New("can't set immutable config")
)

// redisError is an error whose text is Redis' own, capitals and full stops included.
type redisError string

func (e redisError) Error() string { return string(e) }

const (
	errLimitWords  redisError = "Wrong number of arguments in buffer limit configuration."
	errLimitClass  redisError = "Invalid client class specified in buffer limit configuration."
	errLimitNumber redisError = "Error in hard, soft or soft_seconds setting in buffer limit configuration."
)
