// Command sarama carries out the commands of the suite with sarama: sarama HOST:PORT.
package main

import (
	"errors"
	"os"
	"time"

	"folio/clients/driving"

	"github.com/IBM/sarama"
)

func main() {
	driving.Serve(func(c *driving.Command) (driving.Answer, error) {
		switch c.Do {
		case "produce":
			return produce(c)
		case "consume":
			return consume(c)
		case "transact":
			return nil, transact(c)
		case "join":
			return join(c)
		}
		client, err := sarama.NewClient(os.Args[1:2], config())
		if err != nil {
			return nil, err
		}
		if c.Do == "offsets" {
			defer client.Close()
			return offsets(client, c)
		}
		admin, err := sarama.NewClusterAdminFromClient(client)
		if err != nil {
			return nil, err
		}
		defer admin.Close()
		return administer(admin, client, c)
	}, code)
}

func code(err error) *int16 {
	var known sarama.KError
	if errors.As(err, &known) {
		number := int16(known)
		return &number
	}
	return nil
}

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.AllowAutoTopicCreation = false
	config.Admin.Timeout = driving.Limit / 2
	config.Consumer.MaxWaitTime = 200 * time.Millisecond
	config.Consumer.Return.Errors = true
	return config
}

// partitioner takes the partition that a record names, and else lets its key decide, by sarama's own hash.
func partitioner(topic string) sarama.Partitioner {
	return &named{sarama.NewHashPartitioner(topic)}
}

type named struct{ sarama.Partitioner }

func (n *named) Partition(message *sarama.ProducerMessage, partitions int32) (int32, error) {
	if message.Partition >= 0 {
		return message.Partition, nil
	}
	return n.Partitioner.Partition(message, partitions)
}

func encoder(bytes []byte) sarama.Encoder {
	if bytes == nil {
		return nil
	}
	return sarama.ByteEncoder(bytes)
}

func produce(c *driving.Command) (driving.Answer, error) {
	config := config()
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = partitioner
	config.Producer.MaxMessageBytes = 4 << 20
	config.Producer.Flush.Frequency = 20 * time.Millisecond
	config.Producer.Flush.Messages = len(c.Records)
	switch c.Acks {
	case "0":
		config.Producer.RequiredAcks = sarama.NoResponse
	case "1":
		config.Producer.RequiredAcks = sarama.WaitForLocal
	default:
		config.Producer.RequiredAcks = sarama.WaitForAll
	}
	if c.Idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
		// Several batches, whose numbers have to fit.
		config.Producer.Flush.Messages = 10
		config.Producer.Flush.MaxMessages = 10
	}
	if c.Codec != "" {
		if err := config.Producer.Compression.UnmarshalText([]byte(c.Codec)); err != nil {
			return nil, err
		}
	}
	producer, err := sarama.NewSyncProducer(os.Args[1:2], config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, 0, len(c.Records))
	for _, record := range c.Records {
		message := &sarama.ProducerMessage{Topic: c.Topic, Partition: -1, Key: encoder(record.Key), Value: encoder(record.Value)}
		if record.Partition != nil {
			message.Partition = *record.Partition
		}
		if record.Time != nil {
			message.Timestamp = time.UnixMilli(*record.Time)
		}
		for _, header := range record.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
		}
		messages = append(messages, message)
	}
	if err := producer.SendMessages(messages); err != nil {
		var several sarama.ProducerErrors
		if errors.As(err, &several) && len(several) > 0 {
			return nil, several[0].Err
		}
		return nil, err
	}
	where := make([][2]int64, 0, len(messages))
	for _, message := range messages {
		where = append(where, [2]int64{int64(message.Partition), message.Offset})
	}
	return driving.Answer{"offsets": where}, nil
}

// transact writes one record in a transaction.
func transact(c *driving.Command) error {
	config := config()
	config.Producer.Return.Successes = true
	config.Producer.Transaction.ID = c.ID
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer(os.Args[1:2], config)
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := producer.BeginTxn(); err != nil {
		return err
	}
	message := &sarama.ProducerMessage{Topic: c.Topic, Value: sarama.StringEncoder("in a transaction")}
	if _, _, err := producer.SendMessage(message); err != nil {
		return err
	}
	return producer.CommitTxn()
}

func consume(c *driving.Command) (driving.Answer, error) {
	client, err := sarama.NewClient(os.Args[1:2], config())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	start, millis, err := c.Start()
	if err == nil && millis != nil {
		start, err = client.GetOffset(c.Topic, c.Partition, *millis)
	}
	if err != nil {
		return nil, err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(c.Topic, c.Partition, start)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	records := []driving.Record{}
	patience := time.After(time.Until(c.Deadline()))
	for len(records) < c.Count {
		select {
		case message := <-partition.Messages():
			at := message.Timestamp.UnixMilli()
			read := driving.Record{Partition: &message.Partition, Offset: message.Offset, Time: &at,
				Key: message.Key, Value: message.Value, Headers: []driving.Header{}}
			for _, header := range message.Headers {
				read.Headers = append(read.Headers, driving.Header{Name: string(header.Key), Value: header.Value})
			}
			records = append(records, read)
		case failed := <-partition.Errors():
			return nil, failed.Err
		case <-patience:
			return driving.Answer{"records": records}, nil
		}
	}
	return driving.Answer{"records": records}, nil
}

func offsets(client sarama.Client, c *driving.Command) (driving.Answer, error) {
	answer := driving.Answer{}
	times := map[string]int64{"earliest": sarama.OffsetOldest, "latest": sarama.OffsetNewest}
	if c.Time != nil {
		times["at"] = *c.Time
	}
	for name, at := range times {
		offset, err := client.GetOffset(c.Topic, c.Partition, at)
		if err != nil {
			return nil, err
		}
		answer[name] = offset
	}
	return answer, nil
}

func administer(admin sarama.ClusterAdmin, client sarama.Client, c *driving.Command) (driving.Answer, error) {
	switch c.Do {
	case "create":
		detail := &sarama.TopicDetail{NumPartitions: c.Partitions, ReplicationFactor: 1, ConfigEntries: map[string]*string{}}
		for name, value := range c.Configs {
			detail.ConfigEntries[name] = &value
		}
		return nil, admin.CreateTopic(c.Topic, detail, false)
	case "describe":
		found, err := admin.DescribeTopics([]string{c.Topic})
		if err == nil && found[0].Err != sarama.ErrNoError {
			err = found[0].Err
		}
		if err != nil {
			return nil, err
		}
		return driving.Answer{"partitions": len(found[0].Partitions)}, nil
	case "topics":
		names, err := client.Topics()
		return driving.Answer{"topics": names}, err
	case "configs":
		entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: c.Topic})
		configs := map[string]string{}
		for _, entry := range entries {
			configs[entry.Name] = entry.Value
		}
		return driving.Answer{"configs": configs}, err
	case "alter":
		changes := map[string]sarama.IncrementalAlterConfigsEntry{}
		for name, value := range c.Configs {
			changes[name] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
		}
		return nil, admin.IncrementalAlterConfig(sarama.TopicResource, c.Topic, changes, false)
	case "grow":
		return nil, admin.CreatePartitions(c.Topic, c.Partitions, nil, false)
	case "truncate":
		if err := admin.DeleteRecords(c.Topic, map[int32]int64{c.Partition: c.Before}); err != nil {
			return nil, err
		}
		low, err := client.GetOffset(c.Topic, c.Partition, sarama.OffsetOldest)
		return driving.Answer{"low": low}, err
	case "delete":
		return nil, admin.DeleteTopic(c.Topic)
	}
	return nil, driving.ErrUnknown
}
