// Command franz carries out the commands of the suite with franz-go: franz HOST:PORT.
package main

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"folio/clients/driving"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var broker = kgo.SeedBrokers(os.Args[1])

func main() {
	client, err := kgo.NewClient(broker)
	if err != nil {
		panic(err)
	}
	admin := kadm.NewClient(client)
	driving.Serve(func(c *driving.Command) (driving.Answer, error) {
		context, cancel := context.WithDeadline(context.Background(), c.Deadline())
		defer cancel()
		switch c.Do {
		case "produce":
			return produce(context, c)
		case "consume":
			return consume(context, admin, c)
		case "offsets":
			return offsets(context, admin, c)
		case "stream":
			return stream(c)
		case "transact":
			return nil, transact(context, c)
		case "join":
			return join(c)
		}
		return administer(context, admin, c)
	}, code)
}

func code(err error) *int16 {
	var known *kerr.Error
	if errors.As(err, &known) {
		return &known.Code
	}
	return nil
}

func producer(c *driving.Command) (*kgo.Client, error) {
	codec, ok := map[string]kgo.CompressionCodec{
		"": kgo.NoCompression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[c.Codec]
	if !ok {
		return nil, errors.New("no such codec: " + c.Codec)
	}
	options := []kgo.Opt{broker, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(partitioner{}),
		kgo.ProducerBatchMaxBytes(4 << 20), kgo.ProducerLinger(20 * time.Millisecond)}
	switch c.Acks {
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()))
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()))
	default:
		options = append(options, kgo.RequiredAcks(kgo.AllISRAcks()))
	}
	if !c.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	return kgo.NewClient(options...)
}

// Where a record names no partition its key decides as in Kafka's own client.
type partitioner struct{}

func (partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return forTopic{kgo.StickyKeyPartitioner(nil).ForTopic(topic)}
}

type forTopic struct{ kgo.TopicPartitioner }

func (f forTopic) RequiresConsistency(*kgo.Record) bool { return true }

func (f forTopic) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return f.TopicPartitioner.Partition(r, n)
}

func produce(context context.Context, c *driving.Command) (driving.Answer, error) {
	client, err := producer(c)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := make([]*kgo.Record, 0, len(c.Records))
	for _, record := range c.Records {
		made := &kgo.Record{Topic: c.Topic, Key: record.Key, Value: record.Value, Partition: -1}
		if record.Partition != nil {
			made.Partition = *record.Partition
		}
		if record.Time != nil {
			made.Timestamp = time.UnixMilli(*record.Time)
		}
		for _, header := range record.Headers {
			made.Headers = append(made.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
		records = append(records, made)
	}
	results := client.ProduceSync(context, records...)
	if err := results.FirstErr(); err != nil {
		return nil, err
	}
	where := make([][2]int64, 0, len(records))
	for _, record := range records {
		where = append(where, [2]int64{int64(record.Partition), record.Offset})
	}
	return driving.Answer{"offsets": where}, nil
}

func consume(context context.Context, admin *kadm.Client, c *driving.Command) (driving.Answer, error) {
	offset, millis, err := c.Start()
	if err != nil {
		return nil, err
	}
	start := kgo.NewOffset().At(offset)
	if offset == -2 {
		start = kgo.NewOffset().AtStart()
	}
	if millis != nil {
		start = kgo.NewOffset().AfterMilli(*millis)
	}
	client, err := kgo.NewClient(broker, kgo.FetchMaxWait(200*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: {c.Partition: start}}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := []driving.Record{}
	for len(records) < c.Count && context.Err() == nil {
		fetches := client.PollRecords(context, c.Count-len(records))
		if err := fetches.Err(); err != nil && context.Err() == nil {
			return nil, err
		}
		for _, record := range fetches.Records() {
			at := record.Timestamp.UnixMilli()
			read := driving.Record{Partition: &record.Partition, Offset: record.Offset, Time: &at,
				Key: record.Key, Value: record.Value, Headers: []driving.Header{}}
			for _, header := range record.Headers {
				read.Headers = append(read.Headers, driving.Header{Name: header.Key, Value: header.Value})
			}
			records = append(records, read)
		}
	}
	return driving.Answer{"records": records}, nil
}

func offsets(context context.Context, admin *kadm.Client, c *driving.Command) (driving.Answer, error) {
	answer := driving.Answer{}
	for name, list := range map[string]func() (kadm.ListedOffsets, error){
		"earliest": func() (kadm.ListedOffsets, error) { return admin.ListStartOffsets(context, c.Topic) },
		"latest":   func() (kadm.ListedOffsets, error) { return admin.ListEndOffsets(context, c.Topic) },
		"at": func() (kadm.ListedOffsets, error) {
			if c.Time == nil {
				return nil, nil
			}
			return admin.ListOffsetsAfterMilli(context, *c.Time, c.Topic)
		},
	} {
		listed, err := list()
		if err != nil {
			return nil, err
		}
		if found, ok := listed.Lookup(c.Topic, c.Partition); ok {
			if found.Err != nil {
				return nil, found.Err
			}
			answer[name] = found.Offset
		}
	}
	return answer, nil
}

// transact writes one record in a transaction.
func transact(context context.Context, c *driving.Command) error {
	client, err := kgo.NewClient(broker, kgo.TransactionalID(c.ID))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		return err
	}
	if err := client.ProduceSync(context, &kgo.Record{Topic: c.Topic, Value: []byte("in a transaction")}).FirstErr(); err != nil {
		return err
	}
	return client.EndTransaction(context, kgo.TryCommit)
}

// stream sends numbered records until a file appears, through whatever happens to the broker.
func stream(c *driving.Command) (driving.Answer, error) {
	client, err := producer(c)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var acknowledged atomic.Int64
	var failed atomic.Pointer[error]
	sent := int64(0)
	for ; !c.Stopped() && failed.Load() == nil; sent++ {
		record := &kgo.Record{Topic: c.Topic, Partition: c.Partition, Value: []byte(strconv.FormatInt(sent, 10))}
		client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
			if err == nil {
				acknowledged.Add(1)
			} else {
				failed.CompareAndSwap(nil, &err)
			}
		})
		time.Sleep(time.Millisecond)
	}
	patience, cancel := context.WithDeadline(context.Background(), c.Deadline())
	defer cancel()
	if err := client.Flush(patience); err != nil {
		return nil, err
	}
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return driving.Answer{"sent": sent, "acked": acknowledged.Load()}, nil
}

func administer(context context.Context, admin *kadm.Client, c *driving.Command) (driving.Answer, error) {
	switch c.Do {
	case "create":
		configs := map[string]*string{}
		for name, value := range c.Configs {
			configs[name] = &value
		}
		_, err := admin.CreateTopic(context, c.Partitions, 1, configs, c.Topic)
		return nil, err
	case "describe":
		found, err := admin.ListTopics(context, c.Topic)
		if err != nil {
			return nil, err
		}
		topic := found[c.Topic]
		return driving.Answer{"partitions": len(topic.Partitions)}, topic.Err
	case "topics":
		found, err := admin.ListTopics(context)
		return driving.Answer{"topics": found.Names()}, err
	case "configs":
		found, err := admin.DescribeTopicConfigs(context, c.Topic)
		if err != nil {
			return nil, err
		}
		topic, err := found.On(c.Topic, nil)
		if err == nil {
			err = topic.Err
		}
		configs := map[string]*string{}
		for _, entry := range topic.Configs {
			configs[entry.Key] = entry.Value
		}
		return driving.Answer{"configs": configs}, err
	case "alter":
		changes := []kadm.AlterConfig{}
		for name, value := range c.Configs {
			changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
		}
		answers, err := admin.AlterTopicConfigs(context, changes, c.Topic)
		if err != nil {
			return nil, err
		}
		answer, err := answers.On(c.Topic, nil)
		if err == nil {
			err = answer.Err
		}
		return nil, err
	case "grow":
		answers, err := admin.UpdatePartitions(context, int(c.Partitions), c.Topic)
		if err != nil {
			return nil, err
		}
		return nil, answers.Error()
	case "truncate":
		before := kadm.Offsets{}
		before.Add(kadm.Offset{Topic: c.Topic, Partition: c.Partition, At: c.Before})
		answers, err := admin.DeleteRecords(context, before)
		if err != nil {
			return nil, err
		}
		answer, ok := answers.Lookup(c.Topic, c.Partition)
		if !ok {
			return nil, errors.New("no answer for the partition")
		}
		return driving.Answer{"low": answer.LowWatermark}, answer.Err
	case "delete":
		answer, err := admin.DeleteTopic(context, c.Topic)
		if err == nil {
			err = answer.Err
		}
		return nil, err
	}
	return nil, driving.ErrUnknown
}
