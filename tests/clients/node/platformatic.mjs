// @platformatic/kafka: `platformatic.mjs HOST:PORT`.
// Its stream exists only as a member of a group; so reads go through its consumer's own fetch.

import { Admin, Consumer, MessagesStreamModes, Producer, protocolErrors } from '@platformatic/kafka'
import { Diary, LIMIT_MS, data, serve, text } from './driving.mjs'

const BROKER = {
  clientId: 'platformatic', bootstrapBrokers: [process.argv[2]], connectTimeout: LIMIT_MS, timeout: LIMIT_MS, retries: 5, retryDelay: 100
}
const TOPIC = 2
const SET = 0
const admin = new Admin(BROKER)

async function produce (command) {
  const producer = new Producer({ ...BROKER, idempotent: command.idempotent ?? false, autocreateTopics: false })
  try {
    const messages = command.records.map(record => ({
      topic: command.topic,
      partition: record.p ?? undefined,
      key: data(record.k) ?? undefined,
      value: data(record.v) ?? undefined,
      timestamp: record.t == null ? undefined : BigInt(record.t),
      // Distinct buffers are distinct keys of the map: names may repeat.
      headers: new Map((record.h ?? []).map(([name, value]) => [Buffer.from(name), data(value)]))
    }))
    await producer.send({
      messages,
      acks: (command.acks ?? 'all') === 'all' ? -1 : Number(command.acks),
      compression: command.codec ?? 'none'
    })
  } finally {
    await producer.close()
  }
}

// One record in a transaction.
async function transact ({ topic, id }) {
  const producer = new Producer({ ...BROKER, transactionalId: id, idempotent: true, autocreateTopics: false })
  try {
    const transaction = await producer.beginTransaction()
    await transaction.send({ messages: [{ topic, value: Buffer.from('in a transaction') }] })
    await transaction.commit()
  } finally {
    await producer.close()
  }
}

const consumer = () => new Consumer({ ...BROKER, groupId: 'unused', autocommit: false })

async function offsetAt (reader, { topic, p }, timestamp) {
  const found = await reader.listOffsets({ topics: [topic], partitions: { [topic]: [p] }, timestamp: BigInt(timestamp) })
  return Number(found.get(topic)[p])
}

async function consume (command) {
  const reader = consumer()
  try {
    const { topic, p } = command
    const known = (await reader.metadata({ topics: [topic] })).topics.get(topic)
    let next = command.from
    if (next === 'earliest') next = await offsetAt(reader, command, -2)
    else if (typeof next === 'object') next = await offsetAt(reader, command, next.time)
    const records = []
    const deadline = Date.now() + (command.limit_ms ?? LIMIT_MS)
    while (records.length < command.n && Date.now() < deadline) {
      const found = await reader.fetch({
        node: known.partitions[p].leader,
        maxWaitTime: 200,
        minBytes: 1,
        maxBytes: 8 << 20,
        topics: [{
          topicId: known.id,
          partitions: [{
            partition: p, currentLeaderEpoch: -1, fetchOffset: BigInt(next), lastFetchedEpoch: -1, partitionMaxBytes: 8 << 20
          }]
        }]
      })
      for (const batch of found.responses[0]?.partitions[0]?.records ?? []) {
        for (const record of batch.records) {
          const offset = Number(batch.firstOffset) + record.offsetDelta
          // A batch comes whole, also what stands before the offset asked for.
          if (offset < next || records.length === command.n) continue
          next = offset + 1
          records.push({
            p,
            o: offset,
            t: Number(batch.firstTimestamp + record.timestampDelta),
            k: text(record.key),
            v: text(record.value),
            h: record.headers.map(([name, value]) => [name.toString(), text(value)])
          })
        }
      }
    }
    return { records }
  } finally {
    await reader.close()
  }
}

async function offsets (command) {
  const reader = consumer()
  try {
    const answer = { earliest: await offsetAt(reader, command, -2), latest: await offsetAt(reader, command, -1) }
    if (command.time != null) answer.at = await offsetAt(reader, command, command.time)
    return answer
  } finally {
    await reader.close()
  }
}

// A member of a group until it is told to stop.
async function join (command) {
  const diary = new Diary(command)
  const session = command.session_ms
  const member = new Consumer({
    ...BROKER,
    groupId: command.group,
    ...(command.instance ? { groupInstanceId: command.instance } : {}),
    autocommit: false,
    sessionTimeout: session,
    heartbeatInterval: 1000,
    rebalanceTimeout: session * 2,
    maxWaitTime: 100,
    minBytes: 1
  })
  const owned = () => (member.assignments ?? []).flatMap(({ topic, partitions }) => partitions.map(part => [topic, part]))
  member.on('consumer:group:join', () => diary.owns(owned()))
  member.on('consumer:group:rebalance', () => diary.owns([]))
  const stream = await member.consume({ topics: [command.topic], mode: MessagesStreamModes.COMMITTED, fallbackMode: 'earliest' })
  stream.on('error', error => diary.say('failed', { why: String(error) }))
  stream.on('data', async message => {
    const o = Number(message.offset) + 1
    diary.say('got', { p: message.partition, o: o - 1, v: message.value.toString() })
    try {
      await message.commit()
      diary.say('committed', { p: message.partition, o })
    } catch (error) {
      diary.say('failed', { why: String(error) })
    }
  })
  await diary.over()
  await member.close(true)
}

async function describe ({ topic }) {
  const found = await admin.metadata({ topics: [topic], forceUpdate: true })
  return { partitions: found.topics.get(topic).partitions.length }
}

async function configs ({ topic }) {
  const [found] = await admin.describeConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic }] })
  return { configs: Object.fromEntries(found.configs.map(entry => [entry.name, entry.value])) }
}

async function alter ({ topic, configs }) {
  const entries = Object.entries(configs).map(([name, value]) => ({ name, value, configOperation: SET }))
  await admin.incrementalAlterConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic, configs: entries }] })
}

async function truncate ({ topic, p, before }) {
  const [found] = await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: p, offset: BigInt(before) }] }] })
  return { low: Number(found.partitions[0].lowWatermark) }
}

function codeOf (error) {
  if (error.apiCode != null) return error.apiCode
  for (const inner of error.errors ?? []) {
    const code = codeOf(inner)
    if (code != null) return code
  }
  return error.cause ? codeOf(error.cause) : protocolErrors[error.apiId]?.code
}

await serve({
  produce,
  consume,
  offsets,
  transact,
  join,
  create: async ({ topic, partitions, configs }) => {
    const entries = Object.entries(configs ?? {}).map(([name, value]) => ({ name, value }))
    await admin.createTopics({ topics: [topic], partitions, replicas: 1, configs: entries })
  },
  describe,
  topics: async () => ({ topics: await admin.listTopics() }),
  configs,
  alter,
  grow: async ({ topic, partitions }) => { await admin.createPartitions({ topics: [{ name: topic, count: partitions, assignments: null }] }) },
  truncate,
  delete: async ({ topic }) => { await admin.deleteTopics({ topics: [topic] }) }
}, codeOf)
