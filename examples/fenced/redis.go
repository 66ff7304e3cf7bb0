/*
Copyright 2026 The kubelock Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package fenced

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Redis runs a script as one step. Tokens are compared as texts of the same length: numbers in Lua have
// 53 bits.
var (
	readHash = redis.NewScript(`
local fence = redis.call('HGET', KEYS[1], 'fence')
if fence and ARGV[1] < fence then return redis.error_reply('STALE') end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return redis.call('HGET', KEYS[1], 'body') or ''`)
	writeHash = redis.NewScript(`
local fence = redis.call('HGET', KEYS[1], 'fence')
if fence and ARGV[1] < fence then return redis.error_reply('STALE') end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'body', ARGV[2])
return 'OK'`)
)

// Hash is a hash in Redis, with its fence in a field.
type Hash struct {
	Client *redis.Client
	Key    string
}

// Read implements Store.
func (h Hash) Read(ctx context.Context, token int64) (string, error) {
	text, err := readHash.Run(ctx, h.Client, []string{h.Key}, digits(token)).Text()
	return text, refused(err, token)
}

// Write implements Store.
func (h Hash) Write(ctx context.Context, token int64, text string) error {
	return refused(writeHash.Run(ctx, h.Client, []string{h.Key}, digits(token), text).Err(), token)
}

func digits(token int64) string { return fmt.Sprintf("%019d", token) }

func refused(err error, token int64) error {
	if redis.HasErrorPrefix(err, "STALE") {
		return stale(token)
	}
	return err
}
