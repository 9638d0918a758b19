package main

import (
	"context"
	"os"
	"time"

	"folio/clients/driving"

	"github.com/IBM/sarama"
)

// A member is what sarama calls as its group moves.
type member struct{ diary *driving.Diary }

func (m member) Setup(session sarama.ConsumerGroupSession) error {
	m.diary.Say("owns", driving.Answer{"parts": driving.Parts(session.Claims())})
	return nil
}

func (m member) Cleanup(session sarama.ConsumerGroupSession) error {
	m.diary.Say("revoked", driving.Answer{"parts": driving.Parts(session.Claims())})
	m.diary.Say("owns", driving.Answer{"parts": []any{}})
	return nil
}

func (m member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			m.diary.Got(message.Partition, message.Offset, message.Value)
			session.MarkMessage(message, "")
			if message.Offset+1 == claim.HighWaterMarkOffset() {
				session.Commit()
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

// join is a member of a group until it is told to stop.
func join(c *driving.Command) (driving.Answer, error) {
	diary, err := c.Diary()
	if err != nil {
		return nil, err
	}
	config := config()
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = time.Duration(c.SessionMs) * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = time.Second
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	config.Consumer.Group.InstanceId = c.Instance
	group, err := sarama.NewConsumerGroup(os.Args[1:2], c.Group, config)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	go func() {
		for err := range group.Errors() {
			diary.Say("failed", driving.Answer{"why": err.Error()})
		}
	}()
	stopped, stop := context.WithCancel(context.Background())
	go func() {
		for !c.Stopped() {
			time.Sleep(20 * time.Millisecond)
		}
		stop()
	}()
	for stopped.Err() == nil {
		if err := group.Consume(stopped, []string{c.Topic}, member{diary}); err != nil {
			diary.Say("failed", driving.Answer{"why": err.Error()})
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil, nil
}
