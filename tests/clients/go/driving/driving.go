// Package driving is what the Go drivers share: the loop over commands, and what a command holds.
package driving

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Limit is how long a command may wait for what it asked for.
const Limit = 60 * time.Second

// A Header is a name and bytes, or null.
type Header struct {
	Name  string
	Value []byte
}

// MarshalJSON writes it as a pair.
func (h Header) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{h.Name, text(h.Value)})
}

// UnmarshalJSON reads a pair.
func (h *Header) UnmarshalJSON(from []byte) error {
	var pair []*string
	if err := json.Unmarshal(from, &pair); err != nil {
		return err
	}
	if len(pair) != 2 || pair[0] == nil {
		return fmt.Errorf("a header is a name and a value: %s", from)
	}
	h.Name = *pair[0]
	if pair[1] == nil {
		return nil
	}
	value, err := base64.StdEncoding.DecodeString(*pair[1])
	h.Value = value
	return err
}

func text(bytes []byte) any {
	if bytes == nil {
		return nil
	}
	return base64.StdEncoding.EncodeToString(bytes)
}

// A Record is one to write, or one that was read.
type Record struct {
	Partition *int32   `json:"p"`
	Offset    int64    `json:"o"`
	Time      *int64   `json:"t"`
	Key       []byte   `json:"k"`
	Value     []byte   `json:"v"`
	Headers   []Header `json:"h"`
}

// A Command is one line of the suite.
type Command struct {
	Do         string            `json:"do"`
	Topic      string            `json:"topic"`
	Codec      string            `json:"codec"`
	Acks       string            `json:"acks"`
	Idempotent bool              `json:"idempotent"`
	Records    []Record          `json:"records"`
	Partition  int32             `json:"p"`
	From       json.RawMessage   `json:"from"`
	Count      int               `json:"n"`
	LimitMs    int64             `json:"limit_ms"`
	Time       *int64            `json:"time"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs"`
	Before     int64             `json:"before"`
	Stop       string            `json:"stop"`
	ID         string            `json:"id"`
	Group      string            `json:"group"`
	Instance   string            `json:"instance"`
	Strategy   string            `json:"strategy"`
	SessionMs  int64             `json:"session_ms"`
	Log        string            `json:"log"`
}

// Deadline is when the command has to be done.
func (c *Command) Deadline() time.Time {
	if c.LimitMs > 0 {
		return time.Now().Add(time.Duration(c.LimitMs) * time.Millisecond)
	}
	return time.Now().Add(Limit)
}

// Start says where to read from: an offset, or a time; -2 is the earliest offset.
func (c *Command) Start() (offset int64, millis *int64, err error) {
	var at struct {
		Time int64 `json:"time"`
	}
	switch {
	case string(c.From) == `"earliest"`:
		return -2, nil, nil
	case json.Unmarshal(c.From, &offset) == nil:
		return offset, nil, nil
	}
	err = json.Unmarshal(c.From, &at)
	return 0, &at.Time, err
}

// Answer is what goes back: names and values.
type Answer = map[string]any

// Serve answers each line of the standard input. code gives Kafka's error code of an error, or nil.
func Serve(run func(*Command) (Answer, error), code func(error) *int16) {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var command Command
		answer := Answer{}
		if err = json.Unmarshal(line, &command); err == nil {
			answer, err = run(&command)
		}
		if err != nil {
			answer = Answer{"error": err.Error(), "code": code(err)}
		} else if answer == nil {
			answer = Answer{}
		}
		told, err := json.Marshal(answer)
		if err != nil {
			told = []byte(fmt.Sprintf(`{"error":%q}`, err))
		}
		if _, err = os.Stdout.Write(append(told, '\n')); err != nil {
			return
		}
	}
}

// Stopped says whether the suite has seen enough of a stream.
func (c *Command) Stopped() bool {
	_, err := os.Stat(c.Stop)
	return err == nil
}

// A Diary is where a member of a group says what becomes of it, a JSON line each.
type Diary struct {
	mutex sync.Mutex
	file  *os.File
}

// Diary opens the member's.
func (c *Command) Diary() (*Diary, error) {
	file, err := os.OpenFile(c.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	return &Diary{file: file}, err
}

// Say writes an event with what belongs to it.
func (d *Diary) Say(event string, what Answer) {
	what["e"] = event
	line, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if _, err := d.file.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

// Got says that a record came.
func (d *Diary) Got(partition int32, offset int64, value []byte) {
	d.Say("got", Answer{"p": partition, "o": offset, "v": string(value)})
}

// Parts are partitions of topics as a diary names them.
func Parts(of map[string][]int32) [][2]any {
	parts := [][2]any{}
	for topic, numbers := range of {
		for _, number := range numbers {
			parts = append(parts, [2]any{topic, number})
		}
	}
	return parts
}

// ErrUnknown is the answer to a command that is not there.
var ErrUnknown = errors.New("no such command")
