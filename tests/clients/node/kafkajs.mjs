// KafkaJS: `kafkajs.mjs HOST:PORT`.
// Its consumer exists only as a member of a group; so reads go through its own cluster, broker and record decoder.

import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import kafkajs from 'kafkajs'
import lz4 from 'lz4-napi'
import snappy from 'snappy'
import { Diary, LIMIT_MS, data, serve, text } from './driving.mjs'

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel, Partitioners } = kafkajs
const CODECS = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])

// Raw snappy goes out; Java's framing is understood: a header of 16 bytes, then blocks behind their length.
function unsnappy (packed) {
  if (!packed.subarray(0, 8).equals(XERIAL)) return snappy.uncompressSync(packed)
  const blocks = []
  for (let at = 16; at < packed.length;) {
    const size = packed.readInt32BE(at)
    blocks.push(snappy.uncompressSync(packed.subarray(at + 4, at + 4 + size)))
    at += 4 + size
  }
  return Buffer.concat(blocks)
}

CompressionCodecs[CompressionTypes.Snappy] = () => ({
  compress: async encoder => snappy.compressSync(encoder.buffer),
  decompress: async packed => unsnappy(packed)
})
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrameSync(encoder.buffer),
  decompress: async packed => lz4.decompressFrameSync(packed)
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zstdCompressSync(encoder.buffer),
  decompress: async packed => zstdDecompressSync(packed)
})

const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.NOTHING, connectionTimeout: LIMIT_MS, requestTimeout: LIMIT_MS })
let admin

async function connected () {
  if (!admin) {
    admin = kafka.admin()
    await admin.connect()
  }
  return admin
}

// Headers are an object: a name with several values holds a list.
function headers (record) {
  const made = {}
  for (const [name, value] of record.h ?? []) (made[name] ??= []).push(data(value))
  return made
}

async function produce (command) {
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    idempotent: command.idempotent ?? false,
    allowAutoTopicCreation: false
  })
  await producer.connect()
  try {
    await producer.send({
      topic: command.topic,
      acks: (command.acks ?? 'all') === 'all' ? -1 : Number(command.acks),
      compression: CODECS[command.codec ?? 'none'],
      messages: command.records.map(record => ({
        partition: record.p ?? undefined,
        key: data(record.k),
        value: data(record.v),
        timestamp: record.t == null ? undefined : String(record.t),
        headers: headers(record)
      }))
    })
  } finally {
    await producer.disconnect()
  }
}

// One record in a transaction.
async function transact ({ topic, id }) {
  const producer = kafka.producer({ transactionalId: id, idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false })
  await producer.connect()
  try {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ value: 'in a transaction' }] })
    await transaction.commit()
  } finally {
    await producer.disconnect()
  }
}

async function startOf (command) {
  if (typeof command.from === 'number') return command.from
  if (command.from === 'earliest') return (await offsets(command)).earliest
  return (await offsets({ ...command, time: command.from.time })).at
}

async function consume (command) {
  const createCluster = kafka[Object.getOwnPropertySymbols(kafka).find(one => String(one).includes('createCluster'))]
  const cluster = createCluster({ metadataMaxAge: LIMIT_MS, allowAutoTopicCreation: false })
  await cluster.connect()
  try {
    await cluster.addTargetTopic(command.topic)
    const [leader] = Object.keys(cluster.findLeaderForPartitions(command.topic, [command.p]))
    const broker = await cluster.findBroker({ nodeId: leader })
    const records = []
    let next = await startOf(command)
    const deadline = Date.now() + (command.limit_ms ?? LIMIT_MS)
    while (records.length < command.n && Date.now() < deadline) {
      const found = await broker.fetch({
        isolationLevel: 0,
        maxWaitTime: 200,
        topics: [{ topic: command.topic, partitions: [{ partition: command.p, fetchOffset: next, maxBytes: 4 << 20 }] }]
      })
      for (const message of found.responses[0].partitions[0].messages) {
        // A batch comes whole, also what stands before the offset asked for.
        if (Number(message.offset) < next || records.length === command.n) continue
        next = Number(message.offset) + 1
        records.push({
          p: command.p,
          o: Number(message.offset),
          t: Number(message.timestamp),
          k: text(message.key),
          v: text(message.value),
          h: Object.entries(message.headers).flatMap(([name, values]) =>
            (Array.isArray(values) ? values : [values]).map(value => [name, text(value)]))
        })
      }
    }
    return { records }
  } finally {
    await cluster.disconnect()
  }
}

async function offsets (command) {
  const one = list => Number(list.find(entry => entry.partition === command.p).offset)
  const found = (await (await connected()).fetchTopicOffsets(command.topic)).find(entry => entry.partition === command.p)
  const answer = { earliest: Number(found.low), latest: Number(found.high) }
  if (command.time != null) answer.at = one(await admin.fetchTopicOffsetsByTimestamp(command.topic, command.time))
  return answer
}

// A member of a group until it is told to stop.
async function join (command) {
  const diary = new Diary(command)
  const session = command.session_ms
  const consumer = kafka.consumer({
    groupId: command.group, sessionTimeout: session, heartbeatInterval: 1000, rebalanceTimeout: session * 2, maxWaitTimeInMs: 100
  })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    diary.owns(Object.entries(payload.memberAssignment).flatMap(([topic, parts]) => parts.map(part => [topic, part])))
  })
  consumer.on(consumer.events.REBALANCING, () => diary.owns([]))
  await consumer.connect()
  await consumer.subscribe({ topic: command.topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, resolveOffset, isRunning, isStale }) => {
      if (!isRunning() || isStale()) return
      for (const message of batch.messages) {
        diary.say('got', { p: batch.partition, o: Number(message.offset), v: message.value.toString() })
        resolveOffset(message.offset)
      }
      const o = Number(batch.lastOffset()) + 1
      await consumer.commitOffsets([{ topic: batch.topic, partition: batch.partition, offset: String(o) }])
      diary.say('committed', { p: batch.partition, o })
    }
  })
  await diary.over()
  await consumer.disconnect()
}

async function create ({ topic, partitions, configs }) {
  const configEntries = Object.entries(configs ?? {}).map(([name, value]) => ({ name, value }))
  const asked = [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }]
  // The one error that it does not throw.
  if (!await (await connected()).createTopics({ topics: asked })) throw Object.assign(new Error('the topic exists'), { code: 36 })
}

async function describe ({ topic }) {
  const found = await (await connected()).fetchTopicMetadata({ topics: [topic] })
  return { partitions: found.topics[0].partitions.length }
}

async function configs ({ topic }) {
  const found = await (await connected()).describeConfigs({
    includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }]
  })
  return { configs: Object.fromEntries(found.resources[0].configEntries.map(entry => [entry.configName, entry.configValue])) }
}

async function alter ({ topic, configs }) {
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  await (await connected()).alterConfigs({
    validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }]
  })
}

async function truncate ({ topic, p, before }) {
  const asked = { topic, partitions: [{ partition: p, offset: String(before) }] }
  try {
    await (await connected()).deleteTopicRecords(asked)
  } catch (error) {
    // What it knows of the topic may be older than the topic, and it does not ask again by itself.
    if (error.partitions?.[0].error?.name !== 'KafkaJSBrokerNotFound') throw error
    await admin.disconnect()
    admin = undefined
    await offsets({ topic, p })
    await admin.deleteTopicRecords(asked)
  }
  return { low: (await offsets({ topic, p })).earliest }
}

// The number stands at the error of a partition, or deeper.
function codeOf (error) {
  if (error == null || error.code != null) return error?.code
  const inner = [...error.errors ?? [], ...(error.partitions ?? []).map(one => one.error), error.cause]
  return inner.map(codeOf).find(code => code != null)
}

await serve({
  produce,
  consume,
  offsets,
  transact,
  join,
  create,
  describe,
  topics: async () => ({ topics: await (await connected()).listTopics() }),
  configs,
  alter,
  grow: async ({ topic, partitions }) => {
    await (await connected()).createPartitions({ topicPartitions: [{ topic, count: partitions }] })
  },
  truncate,
  delete: async ({ topic }) => { await (await connected()).deleteTopics({ topics: [topic] }) }
}, codeOf)
