//go:build !linux

package base

func AdviseHugePages([]byte) {}
