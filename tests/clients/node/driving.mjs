// What the Node drivers share: the loop over commands, bytes as text, and errors with Kafka's code.

import { appendFileSync, existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'

export const LIMIT_MS = 60_000

// Whatever a library prints must not stand between the answers.
const answerLine = process.stdout.write.bind(process.stdout)
console.log = console.info = console.warn = console.error

export async function serve (commands, codeOf) {
  for await (const line of createInterface({ input: process.stdin })) {
    let answer
    try {
      const command = JSON.parse(line)
      answer = (await commands[command.do](command)) ?? {}
    } catch (error) {
      // With what it holds inside, since the message alone often says little, but without where in the library it arose.
      answer = { error: inspect(error, { depth: 4 }).replace(/\n +at .*/g, ''), code: codeOf(error) ?? null }
    }
    answerLine(JSON.stringify(answer) + '\n')
  }
  process.exit(0)
}

// Where a member of a group says what becomes of it, a JSON line each.
export class Diary {
  #command
  #owned

  constructor (command) {
    this.#command = command
  }

  say (event, what) {
    appendFileSync(this.#command.log, JSON.stringify({ e: event, ...what }) + '\n')
  }

  // Pairs of topic and partition; said when they are others than before.
  owns (parts) {
    const owned = JSON.stringify(parts)
    if (owned !== this.#owned) this.say('owns', { parts })
    this.#owned = owned
  }

  async over () {
    while (!existsSync(this.#command.stop)) await pause(20)
  }
}

export const data = text => (text == null ? null : Buffer.from(text, 'base64'))
export const text = data => (data == null ? null : Buffer.from(data).toString('base64'))
