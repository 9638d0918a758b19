package main

import (
	"context"
	"sync"
	"time"

	"folio/clients/driving"

	"github.com/twmb/franz-go/pkg/kgo"
)

// member keeps what the callbacks of a rebalance tell.
type member struct {
	mutex sync.Mutex
	owned map[string][]int32
	diary *driving.Diary
}

func (m *member) assigned(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for topic, numbers := range parts {
		m.owned[topic] = append(m.owned[topic], numbers...)
	}
	m.diary.Say("owns", driving.Answer{"parts": driving.Parts(m.owned)})
}

func (m *member) revoked(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	m.gaveUp("revoked", parts)
}

// lost is told when the client has ended its membership by itself.
func (m *member) lost(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	m.gaveUp("lost", parts)
}

func (m *member) gaveUp(how string, parts map[string][]int32) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for topic, numbers := range parts {
		for _, number := range numbers {
			kept := []int32{}
			for _, one := range m.owned[topic] {
				if one != number {
					kept = append(kept, one)
				}
			}
			m.owned[topic] = kept
		}
	}
	m.diary.Say(how, driving.Answer{"parts": driving.Parts(parts)})
	m.diary.Say("owns", driving.Answer{"parts": driving.Parts(m.owned)})
}

// join is a member of a group until it is told to stop.
func join(c *driving.Command) (driving.Answer, error) {
	diary, err := c.Diary()
	if err != nil {
		return nil, err
	}
	m := &member{owned: map[string][]int32{}, diary: diary}
	session := time.Duration(c.SessionMs) * time.Millisecond
	balancer := kgo.RangeBalancer()
	if c.Strategy == "cooperative" {
		balancer = kgo.CooperativeStickyBalancer()
	}
	options := []kgo.Opt{broker, kgo.ConsumerGroup(c.Group), kgo.ConsumeTopics(c.Topic), kgo.DisableAutoCommit(), kgo.Balancers(balancer),
		kgo.SessionTimeout(session), kgo.HeartbeatInterval(time.Second), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked),
		kgo.OnPartitionsLost(m.lost), kgo.BlockRebalanceOnPoll()}
	if c.Instance != "" {
		options = append(options, kgo.InstanceID(c.Instance))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.CloseAllowingRebalance()
	for !c.Stopped() {
		m.round(client)
		client.AllowRebalance()
	}
	return nil, nil
}

func (m *member) round(client *kgo.Client) {
	patience, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	records := client.PollRecords(patience, 100).Records()
	behind := map[int32]int64{}
	for _, record := range records {
		m.diary.Got(record.Partition, record.Offset, record.Value)
		behind[record.Partition] = record.Offset + 1
	}
	if len(records) == 0 {
		return
	}
	patience, cancel = context.WithTimeout(context.Background(), driving.Limit)
	defer cancel()
	if err := client.CommitRecords(patience, records...); err != nil {
		m.diary.Say("failed", driving.Answer{"why": err.Error()})
		return
	}
	for partition, offset := range behind {
		m.diary.Say("committed", driving.Answer{"p": partition, "o": offset})
	}
}
